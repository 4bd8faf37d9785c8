"""The core's side: it answers fronts with its own queues and engines."""
