"""timm's `seresnet*`, `seresnext*`, `senet154`: its names are the canonical form.

Deep stems (`conv1.0`, `conv1.3`, `conv1.6`) and averaging shortcuts (`downsample.1`, `downsample.2`) are read as well.
"""

from models.design import Traits
from models.fit import Fit
from models.formats.format import Format, always
from models.formats.names import Names

TIMM = Format(
    name="timm",
    marks=(r"layer\d+\.\d+\.se\.fc1\.weight",),
    names=Names(),
    traits=always(Traits(variant="A")),
    fit=Fit(interpolation="bicubic"),  # timm's default, with a crop of 0.875
)
