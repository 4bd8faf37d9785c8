"""The input and the output of every graph in a bundle."""

INPUT = "pixels"
"""Name of the input: Pixels, (batch, height, width, 3) uint8 RGB."""
OUTPUT = "probabilities"
"""Name of the output: Probabilities, (batch, classes) float32."""
