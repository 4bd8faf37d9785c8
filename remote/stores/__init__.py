"""One kind of store a file; `opening` chooses it by the URL."""
