"""Engines: compute probabilities from pixels, one runtime a file, and how the one for a bundle is chosen."""
