"""Triton: a program of NVIDIA's Python clients, run by the Python of an environment that has them."""
