"""timm's `seresnet*`, `seresnext*` and `senet154`: their names are the canonical names.

Deep stems (`conv1.0`, `conv1.3`, `conv1.6`) and averaging shortcuts (`downsample.1`, `downsample.2`) are supported.
"""

from models.evaluation import EvaluationTransform
from models.formats.format import Format, always
from models.formats.names import Names
from models.networks.design import Traits

TIMM = Format(
    name="timm",
    marks=(r"layer\d+\.\d+\.se\.fc1\.weight",),
    names=Names(),
    traits=always(Traits(variant="A")),
    transform=EvaluationTransform(interpolation="bicubic"),  # timm's default, with a crop of 0.875
)
