"""Graphs: ONNX graphs of a network in each precision."""
