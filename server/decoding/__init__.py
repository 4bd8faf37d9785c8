"""Decoding: encoded photos to pixels, on threads, with predictions of how long that takes."""
