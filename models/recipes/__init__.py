"""How our own networks were trained: one runnable file per network."""
