"""Plans for TensorRT: from a bundle's graphs to engines for one GPU, SE blocks fused."""
