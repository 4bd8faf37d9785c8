"""moskomule/senet.pytorch: torchvision's ResNet with SE layers of two linear layers without bias; also for CIFAR."""

from models.evaluation import EvaluationTransform
from models.formats.format import Format, always
from models.formats.names import Names
from models.networks.design import Traits

_SE = r"layer\d+\.\d+\.se\.fc\.0\.weight"
_NAMES = Names(
    ("layer{stage}.{unit}.se.fc.0", "layer{stage}.{unit}.se.fc1"),
    ("layer{stage}.{unit}.se.fc.2", "layer{stage}.{unit}.se.fc2"),
)

MOSKOMULE = Format(
    name="moskomule",
    marks=(_SE, r"layer4\.0\.conv1\.weight"),
    names=_NAMES,
    traits=always(Traits(variant="A")),
)

MOSKOMULE_CIFAR = Format(
    name="moskomule-cifar",
    marks=(_SE,),
    names=_NAMES,
    traits=always(Traits(variant="A", stem="3x3s1")),
    transform=EvaluationTransform(
        size=32,
        resize_to=32,
        mean=(0.4914 * 255, 0.4822 * 255, 0.4465 * 255),  # of CIFAR-10's training pixels
        std=(0.2470 * 255, 0.2435 * 255, 0.2616 * 255),
    ),
)
