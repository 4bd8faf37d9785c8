"""What passes between export and server: the manifest, its files, labels, preprocessing and predictions."""
