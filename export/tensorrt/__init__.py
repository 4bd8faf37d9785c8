"""TensorRT: builds plans for one GPU from a bundle's graphs, with fused SE blocks."""
