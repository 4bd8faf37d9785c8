"""Export: turns checkpoints into bundles, and bundles into TensorRT plans."""
