"""REST of the Open Inference Protocol: everything under `/v2`."""
