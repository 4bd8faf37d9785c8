"""The networks, in torch, and the readers of every checkpoint format."""
