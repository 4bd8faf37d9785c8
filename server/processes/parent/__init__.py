"""The parent's side: start, watch, restart and end processes."""
