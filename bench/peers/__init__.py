"""Peers: other servers, each in an environment of its own, on the same network, photos and threads as Sesame."""
