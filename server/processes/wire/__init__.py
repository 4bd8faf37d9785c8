"""The wire: what a front and the core share, messages over a socket and pictures in shared memory."""
