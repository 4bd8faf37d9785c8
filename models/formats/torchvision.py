"""torchvision's ResNet and ResNeXt, without SE blocks. The official Places365 networks have the same names."""

from models.formats.format import Format, always
from models.formats.names import Names
from models.networks.design import Traits

TORCHVISION = Format(
    name="torchvision",
    marks=(r"conv1\.weight", r"layer1\.0\.conv1\.weight", r"layer4\.0\.bn1\.weight", r"fc\.weight"),
    names=Names(),
    traits=always(Traits(variant="A")),
)
