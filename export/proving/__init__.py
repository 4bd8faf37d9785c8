"""Proving: compares graphs with the torch network, and judges lower precisions on photos."""
