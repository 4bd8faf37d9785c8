"""What passes between export and server: a bundle's manifest and files, labels, preprocessing and predictions."""
