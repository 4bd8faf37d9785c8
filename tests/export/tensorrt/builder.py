"""What TensorRT's builder asks of a plugin, in its order, over NVIDIA's real Python: for scripts of `bindings.python`.

The library's part is played by whole numbers: a dimension is a Number, and an expression is worked out at once.
"""

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import tensorrt
from tensorrt.plugin import _tensor

TYPES = {"fp32": tensorrt.DataType.FLOAT, "fp16": tensorrt.DataType.HALF, "bf16": tensorrt.DataType.BF16}


class Number:
    """A dimension, of which TensorRT has no constructor in Python."""

    def __init__(self, value: int) -> None:
        self.value = value

    @property  # type: ignore[misc]  # isinstance reads it, and nobody sets it
    def __class__(self) -> type:
        kind: type = tensorrt.IDimensionExpr
        return kind

    def is_constant(self) -> bool:
        return True

    def get_constant_value(self) -> int:
        return self.value


class Arithmetic:
    """An IExprBuilder."""

    def constant(self, value: int) -> Number:
        return Number(value)

    def operation(self, kind: tensorrt.DimensionOperation, first: Number, second: Number) -> Number:
        a, b = first.value, second.value
        known = {"SUM": a + b, "PROD": a * b, "SUB": a - b, "MAX": max(a, b), "MIN": min(a, b)}
        if b:
            known |= {"CEIL_DIV": -(-a // b), "FLOOR_DIV": a // b}
        return Number(known[kind.name])


class Extra:
    """An argument beside the tensors, as the library is told it."""

    def __init__(self, expression: Any) -> None:
        self.kind, self.value = type(expression).__name__, expression._expr.value


class Extras(dict[int, Extra]):
    nbSymExprs = 0  # noqa: N815  TensorRT's name


def pretend() -> None:
    """Let numbers go where the bindings let their own classes alone go."""
    tensorrt.DimsExprs = lambda length: [None] * length
    _tensor.SymExprImpl = Extra


def described(
    shape: Sequence[int], dtype: Any = tensorrt.DataType.HALF, layout: Any = tensorrt.TensorFormat.LINEAR
) -> Any:
    description = tensorrt.DynamicPluginTensorDesc()
    description.desc.dims = tensorrt.Dims(tuple(shape))
    description.desc.type, description.desc.format = dtype, layout
    return description


def asked(creator: Any, shapes: Sequence[Sequence[int]], batch: int, precision: str) -> Iterator[dict[str, Any]]:
    """A row for each format and tactic in which the plugin offers that precision; the first dimension is `batch`."""
    pretend()
    wish = tensorrt.QuickPluginCreationRequest.PREFER_AOT
    plugin = creator.create_plugin(
        creator.name, creator.plugin_namespace, tensorrt.PluginFieldCollection([]), tensorrt.TensorRTPhase.BUILD, wish
    )
    tensors = len(shapes) + 1
    dtype, builder = TYPES[precision], Arithmetic()
    plugin.get_output_data_types([dtype] * len(shapes), [len(shape) for shape in shapes])
    known = [[Number(batch if size < 0 else size) for size in shape] for shape in shapes]
    (output,) = plugin.get_output_shapes(known, [], builder)
    every = [*shapes, [shapes[0][0], *(size.value for size in output[1:])]]
    offered = plugin.get_supported_format_combinations([described(shape) for shape in every], len(shapes))
    assert len(offered) % tensors == 0
    for first in range(0, len(offered), tensors):
        combination = offered[first : first + tensors]
        if combination[0].type == dtype:
            tuned = [described(size, io.type, io.format) for size, io in zip(every, combination, strict=True)]
            yield from _tactics(plugin, known, tuned, builder, [size.value for size in output])


def _tactics(
    plugin: Any, known: list[list[Number]], tuned: list[Any], builder: Arithmetic, output: list[int]
) -> Iterator[dict[str, Any]]:
    inputs, outputs = tuned[:-1], tuned[-1:]
    for tactic in _valid(plugin, inputs, outputs):
        copy = plugin.clone()
        copy.set_tactic(tactic)
        launch, extras = SimpleNamespace(), Extras()
        copy.get_launch_params(known, tuned, len(inputs), launch, extras, builder)
        assert extras.nbSymExprs == len(extras)
        name, ptx = copy.get_kernel([row.desc for row in inputs], [row.desc for row in outputs])
        yield {
            "types": [row.desc.type.name for row in tuned],
            "formats": [row.desc.format.name for row in tuned],
            "tactic": tactic,
            "output": output,
            "name": name,
            "ptx": ptx.decode(),
            "launch": {key: value.value for key, value in vars(launch).items()},
            "extras": [(extras[at].kind, extras[at].value) for at in range(len(extras))],
        }


def _valid(plugin: Any, inputs: list[Any], outputs: list[Any]) -> list[int]:
    plugin.configure_plugin(inputs, outputs)
    return sorted(plugin.get_valid_tactics())
