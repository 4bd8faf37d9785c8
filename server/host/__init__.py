"""What a process asks of its machine: CPU cores, limits, sockets, standard output, an exit code."""
