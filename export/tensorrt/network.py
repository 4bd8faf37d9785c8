"""Network: parses a graph into a strongly typed TensorRT network, whose types all come from the graph."""

import tensorrt

from export.errors import ExportError
from trt.messages import Messages


def parse(builder: "tensorrt.Builder", model: bytes, messages: Messages) -> "tensorrt.INetworkDefinition":
    """The network of the graph. Raises ExportError with each node that TensorRT does not accept, and the cure."""
    network = builder.create_network(_flags())
    parser = tensorrt.OnnxParser(network, messages)
    if not parser.parse(model):
        errors = [_description(parser.get_error(index)) for index in range(parser.num_errors)]
        why = "; ".join(errors) or messages.last_errors()
        raise ExportError(f"TensorRT {tensorrt.__version__} does not accept the graph: {why}. {_cure(why)}")
    return network


def _cure(why: str) -> str:
    if "UInt8" in why:
        return "Export the bundle again: an earlier version made it, which did not cast the pixels first."
    return (
        "Try `--se native`, another --precision, or a newer TensorRT; the server's other engines can run this bundle."
    )


def _flags() -> int:
    """The flags by name, as their bits differ between TensorRT 10 and 11; an old 10 has no flag for AOT plugins."""
    known = tensorrt.NetworkDefinitionCreationFlag.__members__
    return sum(1 << int(known[name]) for name in ("STRONGLY_TYPED", "PREFER_AOT_PYTHON_PLUGINS") if name in known)


def _description(error: "tensorrt.ParserError") -> str:
    """The error in one line; TensorRT's own text may have several."""
    inside = " in ".join(("", *error.local_function_stack()))
    description = " ".join(error.desc().split())
    return f"{error.node_operator()} '{error.node_name()}'{inside}: {description} ({error.code().name})"
