"""Caffe's `.caffemodel`: a protobuf message that holds a network's layers with their weights. No Caffe is needed.

Field numbers are those of caffe.proto (BVLC/caffe, BSD licence). Only the fields that are read here are declared.
Packed floats are declared as bytes, which have the same encoding: so hundreds of megabytes are not copied number by
number.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from torch import Tensor

from models.errors import CheckpointError

_ONE, _MANY = descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL, descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED
_KINDS = {
    "string": descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
    "bytes": descriptor_pb2.FieldDescriptorProto.TYPE_BYTES,
    "uint32": descriptor_pb2.FieldDescriptorProto.TYPE_UINT32,
    "int64": descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
    "float": descriptor_pb2.FieldDescriptorProto.TYPE_FLOAT,
}
_MESSAGES: dict[str, dict[str, tuple[int, str, int]]] = {
    "BlobShape": {"dim": (1, "int64", _MANY)},
    "BlobProto": {
        "num": (1, "int64", _ONE),
        "channels": (2, "int64", _ONE),
        "height": (3, "int64", _ONE),
        "width": (4, "int64", _ONE),
        "data": (5, "bytes", _ONE),
        "shape": (7, "BlobShape", _ONE),
        "double_data": (8, "bytes", _ONE),
    },
    "ConvolutionParameter": {"stride": (6, "uint32", _MANY), "stride_h": (13, "uint32", _ONE)},
    "PoolingParameter": {"pad": (4, "uint32", _ONE), "pad_h": (9, "uint32", _ONE)},
    "BatchNormParameter": {"eps": (3, "float", _ONE)},
    "LayerParameter": {
        "name": (1, "string", _ONE),
        "type": (2, "string", _ONE),
        "bottom": (3, "string", _MANY),
        "top": (4, "string", _MANY),
        "blobs": (7, "BlobProto", _MANY),
        "convolution_param": (106, "ConvolutionParameter", _ONE),
        "pooling_param": (121, "PoolingParameter", _ONE),
        "batch_norm_param": (139, "BatchNormParameter", _ONE),
    },
    "NetParameter": {
        "name": (1, "string", _ONE),
        "layers": (2, "bytes", _MANY),
        "layer": (100, "LayerParameter", _MANY),
    },
}


def _make_net_class() -> type[Any]:
    file = descriptor_pb2.FileDescriptorProto(name="sesame/caffe.proto", package="sesame.caffe", syntax="proto2")
    for message, fields in _MESSAGES.items():
        kind = file.message_type.add(name=message)
        for name, (number, of, label) in fields.items():
            field = kind.field.add(name=name, number=number, label=label)
            if of in _KINDS:
                field.type = _KINDS[of]
            else:
                field.type, field.type_name = field.TYPE_MESSAGE, f".sesame.caffe.{of}"
    file.message_type[0].field[0].options.packed = True
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("sesame.caffe.NetParameter"))


NET = _make_net_class()
"""The protobuf class of a whole network."""


def content(path: Path) -> dict[str, object]:
    """`net`: the tensors by `<layer>.<weight|bias|running_mean|running_var>`. `layers`: the settings of each layer.

    Settings are the stride of a convolution, the padding of a pooling and the epsilon of a BatchNorm. Raises
    CheckpointError when the file is damaged, holds no weights, or is in the format of Caffe's first version.
    """
    net = NET()
    try:
        net.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise CheckpointError(f"'{path.name}' is not a Caffe model, or is damaged: download it again.") from error
    if net.layers:
        raise CheckpointError(
            f"'{path.name}' has layers of Caffe's first version: convert it with Caffe's upgrade_net_proto_binary."
        )
    if not any(layer.blobs for layer in net.layer):
        raise CheckpointError(f"'{path.name}' holds no weights: give the .caffemodel, not the .prototxt.")
    try:
        tensors = {name: tensor for layer in net.layer for name, tensor in _tensors(layer)}
    except ValueError as error:
        raise CheckpointError(f"'{path.name}' is damaged ({error}): download it again.") from error
    return {"net": tensors, "layers": {layer.name: _settings(layer) for layer in net.layer}}


def _tensors(layer: Any) -> Iterator[tuple[str, Tensor]]:
    blobs = [_array(blob, layer.name) for blob in layer.blobs]
    match layer.type:
        case "BatchNorm":  # the mean and the variance, both multiplied by a factor, which is the third blob
            if len(blobs) != 3:
                raise ValueError(f"layer {layer.name} has {len(blobs)} blobs instead of 3")
            factor = float(blobs[2].flatten()[0]) if blobs[2].size else 0.0
            scale = 1 / factor if factor else 0.0
            yield f"{layer.name}.running_mean", torch.from_numpy(blobs[0].flatten() * np.float32(scale))
            yield f"{layer.name}.running_var", torch.from_numpy(blobs[1].flatten() * np.float32(scale))
        case "InnerProduct":  # the weight has shape (1, 1, out, in) in old files
            for name, blob in zip(("weight", "bias"), blobs, strict=False):
                shape = blob.shape[-2:] if name == "weight" else (-1,)
                yield f"{layer.name}.{name}", torch.from_numpy(blob.reshape(shape))
        case _:
            for name, blob in zip(("weight", "bias"), blobs, strict=False):
                yield (
                    f"{layer.name}.{name}",
                    torch.from_numpy(blob if name == "weight" and blob.ndim == 4 else blob.flatten()),
                )


def _array(blob: Any, layer: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The values of a blob. Raises ValueError where there are not as many as its shape needs."""
    data = np.frombuffer(blob.data, "<f4") if blob.data else np.frombuffer(blob.double_data, "<f8").astype(np.float32)
    legacy = (blob.num, blob.channels, blob.height, blob.width)
    shape = tuple(blob.shape.dim) if blob.HasField("shape") else legacy
    if any(size < 0 for size in shape) or int(np.prod(shape, dtype=object)) != data.size:
        raise ValueError(f"a blob of layer {layer} has {data.size} numbers and the shape {shape}")
    return data.reshape(shape).copy()


def _settings(layer: Any) -> dict[str, float]:
    settings: dict[str, float] = {}
    if layer.HasField("convolution_param"):
        convolution = layer.convolution_param
        settings["stride"] = convolution.stride[0] if convolution.stride else convolution.stride_h or 1
    if layer.HasField("pooling_param"):
        settings["pad"] = layer.pooling_param.pad or layer.pooling_param.pad_h
    if layer.type == "BatchNorm":
        settings["eps"] = layer.batch_norm_param.eps if layer.batch_norm_param.HasField("eps") else 1e-5
    return settings
