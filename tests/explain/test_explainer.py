"""What is told of a photo: the map of a class lies where the photo's evidence is, and the gates in numbers."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bundle import files
from bundle.errors import BadImage
from bundle.headers import read_header
from bundle.images import decode_whole
from bundle.manifest import Preprocessing
from explain.class_map import class_map, overlay, seen_region
from explain.excitation import excitation
from explain.explainer import explain
from explain.explanation import ClassMap, Region, Wanted
from explain.network import ExplainedNetwork
from tests.support.pictures import encoded, picture

MOST = 50_000_000


@pytest.fixture(scope="module")
def network(demo: Path) -> ExplainedNetwork:
    return ExplainedNetwork(files.read(demo), threads=1)


def jpeg(image: Image.Image, orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(image, quality=95, exif=exif)


def test_the_mean_of_the_map_and_the_bias_make_the_probabilities(network: ExplainedNetwork) -> None:
    photo = jpeg(picture(96, 64))
    assert network.bias is not None
    logits = []
    for index in range(len(network.bundle.labels)):
        explanation = explain(network, photo, Wanted(class_index=index), MOST, exact=True)
        assert explanation.map and explanation.explained.index == index
        logits.append(np.mean(explanation.map.values) + network.bias[index])
    powers = np.exp(np.array(logits) - max(logits))
    best = explain(network, photo, Wanted(), MOST, exact=True).explained
    assert best.index == int(np.argmax(logits))
    assert best.probability == pytest.approx(powers.max() / powers.sum(), rel=1e-3)


def test_a_class_that_does_not_exist_and_a_broken_photo_are_errors(network: ExplainedNetwork) -> None:
    with pytest.raises(IndexError):
        explain(network, jpeg(picture(96, 64)), Wanted(class_index=200), MOST, exact=True)
    with pytest.raises(BadImage):
        explain(network, jpeg(picture(96, 64))[:300], Wanted(), MOST, exact=True)


@pytest.mark.parametrize(
    ("size", "orientation", "expected"),
    [
        ((96, 64), 1, Region(1 / 6, 0, 2 / 3, 1)),
        ((96, 64), 6, Region(0, 1 / 6, 1, 2 / 3)),
        ((64, 64), 3, Region(0, 0, 1, 1)),
    ],
)
def test_the_region_is_the_crop_of_the_upright_photo(
    network: ExplainedNetwork, size: tuple[int, int], orientation: int, expected: Region
) -> None:
    header = read_header(jpeg(picture(*size), orientation), MOST)
    found = seen_region(header, network.bundle.manifest.preprocessing)
    for field in ("left", "top", "width", "height"):
        assert getattr(found, field) == pytest.approx(getattr(expected, field))


def test_a_squashed_photo_is_seen_whole() -> None:
    squash = Preprocessing(64, 64, "squash", 64, "bilinear", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    assert seen_region(read_header(jpeg(picture(96, 64)), MOST), squash) == Region(0, 0, 1, 1)


def test_the_map_weighs_the_features_by_the_class() -> None:
    features = np.zeros((2, 2, 3), np.float32)
    features[0, 1, 2], features[1, 0, 0] = 4, 5
    found = class_map(features, np.array([0.5, -1], np.float32), Region(0, 0, 1, 1))
    assert found.values == ((-5, 0, 0), (0, 0, 2))


def test_the_overlay_is_red_where_the_class_is_and_leaves_the_rest() -> None:
    photo = np.full((60, 90, 3), 100, np.uint8)
    shown = overlay(photo, ClassMap(((-3.0, -3.0, -3.0), (-3.0, -3.0, 9.0)), Region(1 / 3, 0, 2 / 3, 1)))
    image = np.asarray(Image.open(io.BytesIO(shown)))
    assert image.shape == photo.shape
    assert (image[:, :30] == 100).all()  # outside of what the network saw
    assert (image[5, 35] == 100).all()  # it speaks against the class there
    assert image[50, 85, 0] > 180 and image[50, 85, 2] < 60


def test_a_map_without_evidence_has_no_colour() -> None:
    photo = np.full((8, 8, 3), 7, np.uint8)
    shown = overlay(photo, ClassMap(((-1.0, 0.0),), Region(0, 0, 1, 1)))
    assert (np.asarray(Image.open(io.BytesIO(shown))) == 7).all()


def test_a_whole_photo_is_upright_and_bounded() -> None:
    image = Image.new("RGB", (300, 100), (255, 255, 255))
    image.paste((0, 0, 0), (0, 0, 150, 100))  # the left half is black
    photo = jpeg(image, orientation=6)  # to be turned right: the left side is on top
    whole = decode_whole(photo, read_header(photo, MOST), 150)
    assert whole.shape == (150, 50, 3)
    assert whole[:70].max() < 30 and whole[80:].min() > 225
    assert decode_whole(photo, read_header(photo, MOST), 1000).shape == (300, 100, 3)


def test_an_excitation_is_its_gates_in_numbers(network: ExplainedNetwork) -> None:
    gates = np.array([0.5, 0.25, 1, 0.75, 0, 1, 0.1], np.float32)
    found = excitation(network.blocks[0], gates, full=True)
    assert found.mean == pytest.approx(3.6 / 7)
    assert (found.quantiles[0], found.quantiles[2], found.quantiles[4]) == (0, 0.5, 1)
    assert [strong.channel for strong in found.strongest] == [2, 5, 3, 0, 1]
    assert found.gates == tuple(gates.tolist())
    assert excitation(network.blocks[0], gates, full=False).gates is None
