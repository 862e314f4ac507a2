from secseg.cli.make_cues import main

if __name__ == "__main__":
    main()
