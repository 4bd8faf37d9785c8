"""Graphs: of which of a bundle's graphs plans are made, and what users call their precision."""

from collections.abc import Container

from bundle.files import Bundle
from bundle.manifest import Graph
from plans.gpus import Gpu

PRECISIONS = {"fp32": "fp32", "fp16": "fp16", "bf16": "bf16", "int8-trt": "int8", "fp8": "fp8"}
"""By the graph's own."""

LEAST = {"bf16": 8.0, "fp8": 8.9}
"""The compute capability that has arithmetic of the type (TensorRT's support matrix)."""


def proven(bundle: Bundle, precisions: Container[str]) -> list[Graph]:
    """The fp32 graph, and of lower precisions those whose proof is in the manifest.

    What they cost was judged on a CPU; what an engine makes of them is compared with the probe when it is built, and
    when it loads.
    """
    rows = {(row.file, row.precision) for row in bundle.manifest.parity}
    return [
        graph
        for graph in bundle.manifest.graphs
        if graph.precision in precisions and (graph.precision == "fp32" or (graph.file, graph.precision) in rows)
    ]


def worth_building(bundle: Bundle, *gpus: Gpu) -> list[str]:
    """The graphs' precisions below fp32 whose proof was kept and that all GPUs have arithmetic for; else fp32."""
    graphs = proven(bundle, PRECISIONS.keys() - {"fp32"})
    fit = [graph.precision for graph in graphs if all(has_arithmetic(gpu, graph.precision) for gpu in gpus)]
    return fit or ["fp32"]


def has_arithmetic(gpu: Gpu, precision: str) -> bool:
    """Whether TensorRT builds a graph of that precision for the GPU."""
    return float(gpu.compute_capability) >= LEAST.get(precision, 0)
