"""The registry: which model versions there are and which serve; it loads, replaces and retires them."""
