"""The SE networks that the paper's authors published (hujie-frank/SENet): `.caffemodel` files of the original Caffe.

Input: blue, green, red, 0..255 minus a mean. Classes: in the order of the ILSVRC development kit. Pooling: without
padding, output size rounded up. SE-ResNets stride in the first 1x1, SE-ResNeXts and SENet-154 in the 3x3. Strides,
padding and epsilon are read from the files themselves.
"""

from models.checkpoint import Checkpoint
from models.evaluation import EvaluationTransform
from models.formats.format import Format
from models.formats.names import Names
from models.networks.design import Traits, Variant
from models.tensors import Tensors

_UNIT, _OURS = "conv{stage+1}_{unit+1}", "layer{stage}.{unit}"


def _normalised(theirs: str, convolution: str, norm: str) -> tuple[tuple[str, str], ...]:
    """Pairs for a convolution and its BatchNorm. Caffe has its statistics in one layer and its scale in another."""
    return (theirs, convolution), (f"{theirs}/bn", norm), (f"{theirs}/bn/scale", norm)


_UNITS = (
    *_normalised(f"{_UNIT}_1x1_reduce", f"{_OURS}.conv1", f"{_OURS}.bn1"),
    *_normalised(f"{_UNIT}_3x3", f"{_OURS}.conv2", f"{_OURS}.bn2"),
    *_normalised(f"{_UNIT}_1x1_increase", f"{_OURS}.conv3", f"{_OURS}.bn3"),
    *_normalised(f"{_UNIT}_1x1_proj", f"{_OURS}.downsample.0", f"{_OURS}.downsample.1"),
    (f"{_UNIT}_1x1_down", f"{_OURS}.se.fc1"),
    (f"{_UNIT}_1x1_up", f"{_OURS}.se.fc2"),
    ("classifier", "fc"),
)
_SE = r"conv\d+_\d+_1x1_down\.weight"
TRANSFORM = EvaluationTransform(mean=(123.0, 117.0, 104.0), std=(1.0, 1.0, 1.0), bgr=True)


def _traits(tensors: Tensors, source: Checkpoint) -> Traits:
    """From the layers in the file: which convolution of conv3_1 strides, and whether the first pooling pads."""
    layers = source.layers
    first = layers.get("conv3_1_1x1_reduce", {}).get("stride", 1) > 1
    padded = layers.get("pool1/3x3_s2", {}).get("pad", 0) > 0
    variants: dict[tuple[bool, bool], Variant] = {
        (True, False): "B",
        (False, False): "D",
        (True, True): "C",
        (False, True): "A",
    }
    epsilon = next((layer["eps"] for layer in layers.values() if "eps" in layer), 1e-5)
    return Traits(variant=variants[first, padded], epsilon=epsilon)


CAFFE = Format(
    name="caffe",
    marks=(_SE, r"conv1/7x7_s2\.weight"),
    names=Names(*_normalised("conv1/7x7_s2", "conv1", "bn1"), *_UNITS),
    traits=_traits,
    transform=TRANSFORM,
    labels="imagenet-1k-devkit",
)

CAFFE_SENET = Format(
    name="caffe-senet",
    marks=(_SE, r"conv1_1/3x3_s2\.weight"),
    names=Names(
        *_normalised("conv1_1/3x3_s2", "conv1.0", "conv1.1"),
        *_normalised("conv1_2/3x3", "conv1.3", "conv1.4"),
        *_normalised("conv1_3/3x3", "conv1.6", "bn1"),
        *_UNITS,
    ),
    traits=_traits,
    transform=TRANSFORM,
    labels="imagenet-1k-devkit",
)
