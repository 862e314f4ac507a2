"""Files of networks: read, write, export, model card, Caffe."""
