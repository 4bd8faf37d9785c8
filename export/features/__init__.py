"""Features: writes a network without its head as ONNX, with the maps that detectors read."""
