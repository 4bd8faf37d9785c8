"""The start: composes one process that holds all, or a parent with fronts and a core, and runs it to its end."""
