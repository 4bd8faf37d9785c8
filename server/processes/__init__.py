"""Processes: fronts with the faces, one core with the engines, and the parent that watches them."""
