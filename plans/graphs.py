"""Graphs: of which of a bundle's graphs plans are made, and what users call their precision."""

from collections.abc import Container

from bundle.files import Bundle
from bundle.manifest import Graph

PRECISIONS = {"fp32": "fp32", "fp16": "fp16", "bf16": "bf16", "int8-trt": "int8", "fp8": "fp8"}
"""By the graph's own."""


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
