"""TensorRT plans for the GPUs of this machine: what identifies them, where they are stored, and how they run."""
