"""Plans for TensorRT, and the kernels that SE blocks may have in them."""
