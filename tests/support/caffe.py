"""Caffe networks: writes a `.prototxt` and a `.caffemodel` like those that the authors of the SE paper published.

Structure and names of the layers are those of the networks in hujie-frank/SENet. The caller gives the weights.
"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.networks.residual import BlockSpec
from models.networks.sebninception import MODULES
from models.networks.seresnet import SEResNetSpec
from models.openers.caffemodel import NET
from models.tensors import Tensors

FACTOR = 999.5
"""Caffe's BatchNorm stores sums and divides them by this number. Any number works."""


class Net:
    """A network that is being written. Each method appends a layer and returns the name of its output."""

    def __init__(self, tensors: Tensors, size: int) -> None:
        self.tensors, self.message = tensors, NET()
        self.text = [f'input: "data" input_dim: 1 input_dim: 3 input_dim: {size} input_dim: {size}']

    def layer(self, name: str, kind: str, bottoms: list[str], top: str, parameters: str = "") -> Any:
        wires = " ".join([*(f'bottom: "{bottom}"' for bottom in bottoms), f'top: "{top}"'])
        self.text.append(f'layer {{ name: "{name}" type: "{kind}" {wires} {parameters} }}')
        return self.message.layer.add(name=name, type=kind, bottom=bottoms, top=[top])

    def blob(self, layer: Any, array: NDArray[np.float32]) -> None:
        layer.blobs.add(data=array.astype("<f4").tobytes(), shape={"dim": list(array.shape)})

    def of(self, name: str) -> NDArray[np.float32]:
        return self.tensors[name].numpy()

    def convolution(self, name: str, bottom: str, ours: str, stride: int = 1, groups: int = 1) -> str:
        weight, bias = self.of(f"{ours}.weight"), f"{ours}.bias" in self.tensors
        outputs, side = weight.shape[0], weight.shape[-1]
        parameters = f"num_output: {outputs} kernel_size: {side} pad: {side // 2} stride: {stride} group: {groups}"
        layer = self.layer(
            name, "Convolution", [bottom], name, f"convolution_param {{ {parameters} bias_term: {str(bias).lower()} }}"
        )
        layer.convolution_param.stride.append(stride)
        self.blob(layer, weight)
        if bias:
            self.blob(layer, self.of(f"{ours}.bias"))
        return name

    def norm(self, name: str, ours: str, relu: bool) -> str:
        """BatchNorm, Scale and ReLU, in place of their input."""
        layer = self.layer(f"{name}/bn", "BatchNorm", [name], name, "batch_norm_param { use_global_stats: true }")
        for array in (self.of(f"{ours}.running_mean"), self.of(f"{ours}.running_var")):
            self.blob(layer, array * np.float32(FACTOR))
        self.blob(layer, np.array([FACTOR], np.float32))
        layer = self.layer(f"{name}/bn/scale", "Scale", [name], name, "scale_param { bias_term: true }")
        self.blob(layer, self.of(f"{ours}.weight"))
        self.blob(layer, self.of(f"{ours}.bias"))
        return self.relu(name) if relu else name

    def relu(self, name: str) -> str:
        self.layer(f"{name}/relu", "ReLU", [name], name)
        return name

    def pool(self, name: str, bottom: str, parameters: str) -> str:
        self.layer(name, "Pooling", [bottom], name, f"pooling_param {{ {parameters} }}")
        return name

    def gate(self, prefix: str, bottom: str, ours: str) -> str:
        pooled = self.pool(f"{prefix}_global_pool", bottom, "pool: AVE global_pooling: true")
        down = self.relu(self.convolution(f"{prefix}_1x1_down", pooled, f"{ours}.fc1"))
        up = self.convolution(f"{prefix}_1x1_up", down, f"{ours}.fc2")
        self.layer(f"{prefix}_prob", "Sigmoid", [up], up)
        return up

    def axpy(self, name: str, a: str, x: str, y: str) -> None:
        """a · x + y, as the authors' axpy_layer.hpp defines it.

        OpenCV 4.14 computes x + a · y for such a layer, so the .prototxt has a Scale and an Eltwise layer instead.
        """
        scaled = f"{name}/scaled"
        self.text.append(
            f'layer {{ name: "{scaled}" type: "Scale" bottom: "{x}" bottom: "{a}" top: "{scaled}" '
            "scale_param { axis: 0 bias_term: false } }\n"
            f'layer {{ name: "{name}" type: "Eltwise" bottom: "{scaled}" bottom: "{y}" top: "{name}" }}'
        )
        self.message.layer.add(name=name, type="Axpy", bottom=[a, x, y], top=[name])

    def classifier(self, bottom: str, ours: str) -> None:
        pooled = self.pool("pool5", bottom, "pool: AVE global_pooling: true")
        weight = self.of(f"{ours}.weight")
        layer = self.layer(
            "classifier", "InnerProduct", [pooled], "classifier", f"inner_product_param {{ num_output: {len(weight)} }}"
        )
        self.blob(layer, weight)
        self.blob(layer, self.of(f"{ours}.bias"))
        self.layer("prob", "Softmax", ["classifier"], "prob")

    def write(self, folder: Path, name: str) -> Path:
        (folder / f"{name}.prototxt").write_text("\n".join(self.text))
        path = folder / f"{name}.caffemodel"
        path.write_bytes(self.message.SerializeToString())
        return path


def write_residual(spec: SEResNetSpec, tensors: Tensors, size: int, folder: Path) -> Path:
    """Write an SE-ResNet, SE-ResNeXt or SENet of bottlenecks for Caffe; returns the .caffemodel."""
    net = Net(tensors, size)
    if spec.stem == "deep":
        top = net.norm(net.convolution("conv1_1/3x3_s2", "data", "conv1.0", stride=2), "conv1.1", relu=True)
        top = net.norm(net.convolution("conv1_2/3x3", top, "conv1.3"), "conv1.4", relu=True)
        top = net.norm(net.convolution("conv1_3/3x3", top, "conv1.6"), "bn1", relu=True)
    else:
        top = net.norm(net.convolution("conv1/7x7_s2", "data", "conv1", stride=2), "bn1", relu=True)
    top = net.pool("pool1/3x3_s2", top, "pool: MAX kernel_size: 3 stride: 2")
    for stage, blocks in enumerate(spec.stages, start=2):
        for unit, block in enumerate(blocks, start=1):
            ours = f"layer{stage - 1}.{unit - 1}"
            top = _unit(net, f"conv{stage}_{unit}", ours, top, block, in_first=spec.variant in ("B", "C"))
    net.classifier(top, "fc")
    return net.write(folder, spec.name)


def _unit(net: Net, prefix: str, ours: str, bottom: str, block: BlockSpec, in_first: bool) -> str:
    first, second = (block.stride, 1) if in_first else (1, block.stride)
    top = net.norm(net.convolution(f"{prefix}_1x1_reduce", bottom, f"{ours}.conv1", first), f"{ours}.bn1", relu=True)
    top = net.norm(
        net.convolution(f"{prefix}_3x3", top, f"{ours}.conv2", second, block.groups), f"{ours}.bn2", relu=True
    )
    top = net.norm(net.convolution(f"{prefix}_1x1_increase", top, f"{ours}.conv3"), f"{ours}.bn3", relu=False)
    gate = net.gate(prefix, top, f"{ours}.se")
    skipped = bottom
    if block.shortcut != "none":
        name = net.convolution(f"{prefix}_1x1_proj", bottom, f"{ours}.downsample.0", block.stride)
        skipped = net.norm(name, f"{ours}.downsample.1", relu=False)
    net.axpy(prefix, gate, top, skipped)
    return net.relu(prefix)


def write_inception(tensors: Tensors, size: int, folder: Path) -> Path:
    """Write SE-BN-Inception for Caffe, where a Scale of two inputs applies the gate; returns the .caffemodel."""
    net = Net(tensors, size)

    def conv(name: str, bottom: str, ours: str, stride: int = 1) -> str:
        return net.norm(net.convolution(name, bottom, f"{ours}.conv", stride), f"{ours}.bn", relu=True)

    top = net.pool("pool1/3x3_s2", conv("conv1/7x7_s2", "data", "conv1", 2), "pool: MAX kernel_size: 3 stride: 2")
    top = conv("conv2/3x3", conv("conv2/3x3_reduce", top, "reduce2"), "conv2")
    top = net.pool("pool2/3x3_s2", top, "pool: MAX kernel_size: 3 stride: 2")
    for name, widths in MODULES.items():
        stride = 1 if widths[0] else 2
        three = conv(f"{name}/3x3", conv(f"{name}/3x3_reduce", top, f"{name}.reduce3"), f"{name}.conv3", stride)
        double = conv(f"{name}/double3x3_reduce", top, f"{name}.reduce_double")
        double = conv(f"{name}/double3x3a", double, f"{name}.double_a")
        double = conv(f"{name}/double3x3b", double, f"{name}.double_b", stride)
        if stride == 2:
            pooled = net.pool(f"{name}/pool/3x3_s2", top, "pool: AVE kernel_size: 3 stride: 2")
            branches = [three, double, pooled]
        else:
            kind = "MAX" if name == "inception_5b" else "AVE"
            pooled = net.pool(f"{name}/pool", top, f"pool: {kind} kernel_size: 3 stride: 1 pad: 1")
            projected = conv(f"{name}/pool_proj", pooled, f"{name}.project")
            branches = [conv(f"{name}/1x1", top, f"{name}.single"), three, double, projected]
        net.layer(f"{name}/concat", "Concat", branches, f"{name}/concat")
        gate = net.gate(name, f"{name}/concat", f"{name}.se")
        top = f"{name}_scale"
        net.layer(top, "Scale", [f"{name}/concat", gate], top, "scale_param { axis: 0 bias_term: false }")
    net.classifier(top, "fc")
    return net.write(folder, "se-bn-inception")


def opencv_probabilities(caffemodel: Path, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """OpenCV's answers (n, classes), from its own reader of Caffe files, to images (n, 3, h, w): BGR minus the mean."""
    net = cv2.dnn.readNetFromCaffe(str(caffemodel.with_suffix(".prototxt")), str(caffemodel))
    net.enableWinograd(False)  # its rounding adds up over 150 layers
    answers = []
    for image in images:
        net.setInput(image[None])
        answers.append(net.forward().reshape(-1))
    return np.stack(answers)
