"""A small SE-ResNet, and its backbone as ONNX, exported once."""

import pytest

from export.features import maps_graph
from export.features.backbone import Backbone
from export.features.sheet import MapRow, Sheet
from models import loading
from models.evaluation import IMAGENET_MEAN, IMAGENET_STD
from tests.support import networks

SPEC = networks.spec(10, width=8, classes=10)
SHEET = Sheet(
    "seresnet10",
    "0" * 64,
    IMAGENET_MEAN,
    IMAGENET_STD,
    tuple(MapRow(f"c{stage}", 2 << stage, 1 << stage) for stage in (2, 3, 4, 5)),
)


def backbone() -> Backbone:
    return Backbone(loading.load(networks.tensors(SPEC), SPEC), "seresnet10").eval()


@pytest.fixture(scope="session")
def honest() -> bytes:
    return maps_graph.to_onnx(backbone(), "seresnet10", SHEET.metadata())
