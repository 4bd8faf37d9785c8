"""The Open Inference Protocol (KServe V2, as Triton speaks it), without a framework: REST and gRPC translate."""
