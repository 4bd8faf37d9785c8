"""Plans: TensorRT's engines for the GPUs of one machine: which they are, how they are kept, and how they run."""
