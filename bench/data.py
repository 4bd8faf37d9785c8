"""Data: where measurements look for photos and data sets by default. The repository does not contain them."""

from bench.running import ROOT

FOLDER = ROOT.parent / "shared" / "data"
PHOTOS = FOLDER / "photos"
TINY_IMAGENET = FOLDER / "tiny-imagenet"
