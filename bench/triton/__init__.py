"""Triton: Sesame's Open Inference Protocol under NVIDIA's perf_analyzer, alone and beside NVIDIA's Triton."""
