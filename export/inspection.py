"""Inspection: lists the facts of a checkpoint, an ONNX file or a bundle, for people or as JSON."""

import dataclasses
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from bundle import files
from bundle.files import Bundle
from bundle.manifest import SEBlockRow
from export.convert import architecture
from export.errors import ExportError
from export.graphs.graph import ServedNetwork
from export.options import ConvertOptions
from models.trained import understand

Facts = dict[str, object]


def inspect(path: Path, options: ConvertOptions) -> Facts:
    """The facts of a checkpoint, an ONNX file or a bundle's folder (`model_repository/demo` is its highest version).

    Raises CheckpointError, BundleError or ExportError where `path` is none of the three.
    """
    if path.is_dir():
        return _of_bundle(files.read(files.newest(path)))
    if path.suffix.lower() == ".onnx":
        return _of_graph(path)
    return _of_checkpoint(path, options)


def to_json(facts: Facts) -> str:
    return json.dumps(facts, indent=2, ensure_ascii=False)


def table(facts: Facts) -> str:
    """One line for each fact; a list of records has one line for each record."""
    lines = []
    for name, value in facts.items():
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            lines.append(f"{name} ({len(value)})")
            lines += ["  " + "  ".join(f"{key} {_plain(item)}" for key, item in row.items()) for row in value]
        else:
            lines.append(f"{name:<16} {_plain(value)}")
    return "\n".join(lines)


def _plain(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _of_checkpoint(path: Path, options: ConvertOptions) -> Facts:
    trained = understand(path, options.read_options)
    transform = options.transform(trained.transform)
    network = architecture(trained, ServedNetwork(trained.network(), transform.mean, transform.std), transform.size)
    return {
        "kind": "checkpoint",
        "file": trained.source.file,
        "sha256": trained.source.sha256,
        "format": trained.format,
        "weights": trained.source.taken,
        **dataclasses.asdict(network),
        "se_blocks": _rows(network.se_blocks),
        "classes": trained.design.classes,
        "preprocessing": dataclasses.asdict(transform),
    }


def _of_bundle(bundle: Bundle) -> Facts:
    manifest = bundle.manifest
    return {
        "kind": "bundle",
        "folder": str(bundle.path),
        "created": manifest.created,
        "source": dataclasses.asdict(manifest.source),
        **dataclasses.asdict(manifest.architecture),
        "name": f"{manifest.name}/{manifest.version}, {manifest.architecture.name}",
        "se_blocks": _rows(manifest.architecture.se_blocks),
        "labels": f"{manifest.labels.classes} classes, {manifest.labels.set}",
        "preprocessing": dataclasses.asdict(manifest.preprocessing),
        "graphs": [dataclasses.asdict(graph) for graph in manifest.graphs],
        "parity": [dataclasses.asdict(row) for row in manifest.parity],
        "tools": dict(manifest.tools),
    }


def _rows(blocks: Sequence[SEBlockRow]) -> list[dict[str, object]]:
    return [dataclasses.asdict(block) for block in blocks]


def _of_graph(path: Path) -> Facts:
    try:
        model = onnx.shape_inference.infer_shapes(onnx.load(path))
    except (OSError, DecodeError, ValueError) as error:
        raise ExportError(f"'{path}' cannot be read as an ONNX graph: give an .onnx file.") from error
    shapes = _shapes(model)
    kinds = Counter(node.op_type for node in model.graph.node)
    blocks = dict.fromkeys(node.name.partition("/se/")[0] for node in model.graph.node if "/se/" in node.name)
    return {
        "kind": "ONNX graph",
        "file": path.name,
        "opset": ", ".join(f"{entry.domain or 'ai.onnx'} {entry.version}" for entry in model.opset_import),
        "inputs": [f"{value.name} {shapes[value.name]}" for value in model.graph.input],
        "outputs": [f"{value.name} {shapes[value.name]}" for value in model.graph.output],
        "parameters": sum(math.prod(tensor.dims) for tensor in model.graph.initializer),
        **_macs(model, shapes),
        "nodes": dict(kinds.most_common()),
        "se_blocks": [{"name": name} for name in blocks],
    }


def _macs(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int | str]]) -> Facts:
    """Nothing for a graph whose height and width are open."""
    if any(isinstance(size, str) for value in model.graph.input for size in shapes[value.name][1:]):
        return {}
    return {"macs": sum(_multiply_adds(node, shapes) for node in model.graph.node)}


def _shapes(model: onnx.ModelProto) -> dict[str, list[int | str]]:
    graph = model.graph
    shapes: dict[str, list[int | str]] = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        dims = value.type.tensor_type.shape.dim
        shapes[value.name] = [dim.dim_param or dim.dim_value for dim in dims]
    return shapes


def _multiply_adds(node: onnx.NodeProto, shapes: Mapping[str, Sequence[int | str]]) -> int:
    """For one image: the outputs of a convolution or matrix product times the inputs of each output."""
    if node.op_type not in ("Conv", "Gemm", "MatMul") or not shapes.get(node.output[0]):
        return 0
    outputs = math.prod(size if isinstance(size, int) else 1 for size in shapes[node.output[0]])
    weights = shapes.get(node.input[1], [])
    per_output = weights[1:] if node.op_type == "Conv" else _inner(node, weights)
    return outputs * math.prod(size for size in per_output if isinstance(size, int))


def _inner(node: onnx.NodeProto, weights: Sequence[int | str]) -> Sequence[int | str]:
    transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
    return weights[1:] if transposed else weights[:1]
