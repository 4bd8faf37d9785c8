"""The paper's other networks, whose tensors have the names of our own networks: nobody published weights of them.

Save your own network as .safetensors with these names; `python -m export inspect` reports what is missing or extra.
Of SE-BN-Inception there is also a published Caffe model, whose tensors have the names of its layers.
"""

import re

from models.evaluation import EvaluationTransform
from models.formats.caffe import TRANSFORM
from models.formats.format import Format, always
from models.formats.names import Names
from models.networks.design import Traits
from models.networks.family import Family
from models.networks.sebninception import MODULES, SE_BN_INCEPTION
from models.networks.seinceptionresnet import SE_INCEPTION_RESNET_V2
from models.networks.semobilenet import SE_MOBILENET
from models.networks.seshufflenet import SE_SHUFFLENET
from models.networks.sevgg import SE_VGG_16


def _canonical(family: Family) -> Format:
    return Format(
        name=family.name,
        marks=(re.escape(family.mark),),
        names=Names(),
        traits=always(Traits()),
        transform=EvaluationTransform(family.size, family.resize_to),
        read=family.read,
    )


def _inception_pairs() -> tuple[tuple[str, str], ...]:
    """Each ConvNorm here is a convolution, a BatchNorm and a Scale in Caffe."""
    ours = {"conv1/7x7_s2": "conv1", "conv2/3x3_reduce": "reduce2", "conv2/3x3": "conv2"}
    branches = {
        "1x1": "single",
        "3x3_reduce": "reduce3",
        "3x3": "conv3",
        "double3x3_reduce": "reduce_double",
        "double3x3a": "double_a",
        "double3x3b": "double_b",
        "pool_proj": "project",
    }
    ours |= {f"{module}/{theirs}": f"{module}.{mine}" for module in MODULES for theirs, mine in branches.items()}
    norms = [((a, f"{b}.conv"), (f"{a}/bn", f"{b}.bn"), (f"{a}/bn/scale", f"{b}.bn")) for a, b in ours.items()]
    gates = [((f"{m}_1x1_down", f"{m}.se.fc1"), (f"{m}_1x1_up", f"{m}.se.fc2")) for m in MODULES]
    return (*(pair for group in (*norms, *gates) for pair in group), ("classifier", "fc"))


CAFFE_INCEPTION = Format(
    name="caffe-inception",
    marks=(r"inception_3a_1x1_down\.weight",),
    names=Names(*_inception_pairs()),
    traits=always(Traits()),
    transform=TRANSFORM,
    labels="imagenet-1k-devkit",
    read=SE_BN_INCEPTION.read,
)

CANONICAL = tuple(
    _canonical(family) for family in (SE_VGG_16, SE_BN_INCEPTION, SE_INCEPTION_RESNET_V2, SE_MOBILENET, SE_SHUFFLENET)
)
