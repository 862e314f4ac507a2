from secseg.cli.prepare_coco import main

if __name__ == "__main__":
    main()
