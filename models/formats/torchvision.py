"""torchvision's ResNet and ResNeXt, without SE blocks: also the trunks of the official Places365 networks."""

from models.design import Traits
from models.formats.format import Format, always
from models.formats.names import Names

TORCHVISION = Format(
    name="torchvision",
    marks=(r"conv1\.weight", r"layer1\.0\.conv1\.weight", r"layer4\.0\.bn1\.weight", r"fc\.weight"),
    names=Names(),
    traits=always(Traits(variant="A")),
)
