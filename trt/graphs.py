"""Graphs: which graphs of a bundle plans are built from."""

from collections.abc import Container

from bundle.files import Bundle
from bundle.manifest import Graph
from trt.gpus import Gpu

PRECISIONS = {"fp32": "fp32", "fp16": "fp16", "bf16": "bf16", "int8-trt": "int8", "fp8": "fp8"}
"""Maps a graph's precision in the manifest to the name of its plan's precision for users."""

LEAST = {"bf16": 8.0, "fp8": 8.9}
"""The lowest compute capability with arithmetic of the type (TensorRT's support matrix). Other types run on all."""


def proven(bundle: Bundle, precisions: Container[str]) -> list[Graph]:
    """The graphs in these precisions that may be served: fp32, and those with a parity row in the manifest.

    The export measured on a CPU what a lower precision costs. A plan's own answers are compared with the probe when it
    is built and each time it is loaded.
    """
    rows = {(row.file, row.precision) for row in bundle.manifest.parity}
    return [
        graph
        for graph in bundle.manifest.graphs
        if graph.precision in precisions and (graph.precision == "fp32" or (graph.file, graph.precision) in rows)
    ]


def worth_building(bundle: Bundle, *gpus: Gpu) -> list[str]:
    """The precisions below fp32 that are proven and that all these GPUs support; fp32 if there are none."""
    graphs = proven(bundle, PRECISIONS.keys() - {"fp32"})
    supported = [graph.precision for graph in graphs if all(has_arithmetic(gpu, graph.precision) for gpu in gpus)]
    return supported or ["fp32"]


def has_arithmetic(gpu: Gpu, precision: str) -> bool:
    """Whether TensorRT can build a graph of that precision for the GPU."""
    return float(gpu.compute_capability) >= LEAST.get(precision, 0)
