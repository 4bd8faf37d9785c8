"""Sesame on Ray Serve, on a cluster of one machine: what is said of deploy/ray.yaml, and what it costs."""
