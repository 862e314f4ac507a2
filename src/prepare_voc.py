from secseg.cli.prepare_voc import main

if __name__ == "__main__":
    main()
