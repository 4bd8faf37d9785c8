"""Overflow: which INT8 graphs give exact results on every CPU.

A CPU multiplies activations (0 to 255) by weights (-128 to 127) and adds the products in 32 bits. VNNI on x86
(`vpdpbusd`) and dot products on ARM (`udot`, `sdot`, `smmla`) do so directly. An x86 without VNNI first adds two
neighbouring products in 16 bits that saturate (`vpmaddubsw`): 255 · 127 + 255 · 127 = 64770 becomes 32767. Sources:
oneDNN's "Nuances of int8 Computations"; ONNX Runtime's `MultiplyAccumulateCellU8S8Avx512Core` beside `...Avx512Vnni` in
`core/mlas/lib/amd64`, and its ARM kernels `Qgemm*Kernel{Neon,Udot,Ummla,Sdot,Smmla}.S` in `core/mlas/lib/aarch64`.
"""

from bundle.manifest import Graph

LARGEST_WEIGHT = 64
"""The sum of two products with weights of at most this magnitude fits 16 bits: 255 · 64 + 255 · 64 = 32640 ≤ 32767.
With 65 it may not: 33150. So all CPUs compute the same integers for such a graph."""


def is_safe(graph: Graph) -> bool:
    """Whether, as far as the manifest states, every CPU computes the graph exactly. True for all but INT8 graphs."""
    if graph.precision != "int8":
        return True
    return graph.largest_weight is not None and graph.largest_weight <= LARGEST_WEIGHT
