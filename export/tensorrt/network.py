"""Network: a graph as TensorRT reads it. Every type comes from the graph, nothing is narrowed on the way."""

import tensorrt as trt

from export.errors import ExportError
from plans.messages import Messages


def parsed(builder: "trt.Builder", model: bytes, messages: Messages) -> "trt.INetworkDefinition":
    """A strongly typed network. Raises ExportError naming each node that TensorRT does not take, and the cure."""
    network = builder.create_network(_flags())
    parser = trt.OnnxParser(network, messages)
    if not parser.parse(model):
        errors = [_told(parser.get_error(index)) for index in range(parser.num_errors)]
        why = "; ".join(errors) or messages.why()
        raise ExportError(f"TensorRT {trt.__version__} does not take the graph: {why}. {_cure(why)}")
    return network


def _cure(why: str) -> str:
    if "UInt8" in why:
        return "Export the bundle again: it was made by an earlier export, which did not cast the pixels first."
    tried = "Try `--se native`, another --precision, or a newer TensorRT"
    return f"{tried}; the server's other engines take this bundle."


def _flags() -> int:
    """By name, as the bits moved between 10 and 11; a 10 without ahead-of-time plugins has no flag for them."""
    known = trt.NetworkDefinitionCreationFlag.__members__
    return sum(1 << int(known[name]) for name in ("STRONGLY_TYPED", "PREFER_AOT_PYTHON_PLUGINS") if name in known)


def _told(error: "trt.ParserError") -> str:
    """One line: descriptions need not be."""
    inside = " in ".join(("", *error.local_function_stack()))
    description = " ".join(error.desc().split())
    return f"{error.node_operator()} '{error.node_name()}'{inside}: {description} ({error.code().name})"
