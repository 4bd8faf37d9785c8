"""Overflow: which INT8 graphs every CPU computes exactly.

A CPU multiplies activations (0 to 255) by weights (-128 to 127) and adds the products in 32 bits. VNNI on x86
(`vpdpbusd`) and dot products on ARM (`udot`, `sdot`, `smmla`) do so directly. An x86 without VNNI first adds two
neighbouring products in 16 bits that saturate (`vpmaddubsw`): 255 · 127 + 255 · 127 = 64770 becomes 32767. Sources:
oneDNN's "Nuances of int8 Computations"; ONNX Runtime's `MultiplyAccumulateCellU8S8Avx512Core` beside `...Avx512Vnni` in
`core/mlas/lib/amd64`, and its ARM kernels `Qgemm*Kernel{Neon,Udot,Ummla,Sdot,Smmla}.S` in `core/mlas/lib/aarch64`.
"""

from bundle.manifest import Graph

LARGEST_WEIGHT = 64
"""No two products with weights of at most this magnitude leave 16 bits: 255 · 64 + 255 · 64 = 32640 ≤ 32767. With 65
they can: 33150. So such a graph is the same integer arithmetic on every CPU."""


def safe(graph: Graph) -> bool:
    """Whether every CPU computes the graph exactly, as far as the manifest tells; a graph in float always is."""
    if graph.precision != "int8":
        return True
    return graph.largest_weight is not None and graph.largest_weight <= LARGEST_WEIGHT
