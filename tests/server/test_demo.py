"""From start to end: real photos over both faces, compared with the torch network that the demo was made from."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
import torch

from bundle import files
from bundle.images import to_picture
from bundle.parity import FLOOR
from export.graphs.graph import ServedNetwork
from models import trained
from models.networks.design import Traits
from models.trained import ReadOptions
from tests.support.faces import running

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("face", ["rest", "rpc"])
async def test_answers_to_real_photos_equal_the_torch_networks_own(
    face: str, shared: Path, photos: list[Path], demo: Path
) -> None:
    options = ReadOptions(traits=Traits(stem="3x3s2"))
    read = trained.understand(shared / "weights" / "seresnet18_tiny.pth", options)
    served = ServedNetwork(read.network(), read.transform.mean, read.transform.std).eval()
    bundle = files.read(demo)
    encoded = [path.read_bytes() for path in photos]
    pixels = np.stack([to_picture(photo, bundle.manifest.preprocessing, 50_000_000) for photo in encoded])
    with torch.inference_mode():
        expected = served(torch.from_numpy(pixels)).numpy()

    async with running(demo.parents[1], exact_pixels=True) as server:
        client = server.client(face)
        outcomes = await asyncio.gather(*(client.classify(photo, top_k=200) for photo in encoded))
    answered = np.zeros_like(expected)
    for row, outcome in zip(answered, outcomes, strict=True):
        for index, _, _, probability in outcome.predictions:
            row[index] = probability
    distance = np.abs(np.log(np.maximum(answered, FLOOR)) - np.log(np.maximum(expected, FLOOR))).max()
    shifted = np.abs(np.log(np.maximum(np.roll(answered, 1, 0), FLOOR)) - np.log(np.maximum(expected, FLOOR))).max()
    assert shifted > 100 * 1e-3  # what one photo's answer given to another would show
    assert distance <= 1e-3
    assert [outcome.indexes[:5] for outcome in outcomes] == np.argsort(-expected, kind="stable")[:, :5].tolist()
