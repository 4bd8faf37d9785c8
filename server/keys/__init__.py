"""API keys: who may ask this server, for which models, and for how many images."""
