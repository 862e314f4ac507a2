from secseg.cli.dashboard import main

if __name__ == "__main__":
    main()
