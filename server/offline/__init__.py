"""Classification of photos on disk, without a running server: `python -m server classify`."""
