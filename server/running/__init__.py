"""What runs: one process that holds all, or a parent with fronts and a core."""
