"""Explanations: what a network computed on its way to an answer."""
