"""From encoded photos to pixels: compared with torchvision's transforms on PIL images."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from bundle.errors import Animated, BadImage, ImageError, TooManyPixels, UnsupportedType
from bundle.images import to_picture
from bundle.manifest import Preprocessing
from tests.support import oracles
from tests.support.pictures import encoded, picture

HOSTILE = Path(__file__).parents[1] / "data" / "hostile"
LIMIT = 50_000_000


def preprocessing(
    size: int = 64, resize_to: int = 64, interpolation: str = "bilinear", resize: str = "short_side"
) -> Preprocessing:
    return Preprocessing(size, size, resize, resize_to, interpolation, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))  # type: ignore[arg-type]


def oracle(wanted: Preprocessing) -> Callable[[Image.Image], Image.Image]:
    transforms = oracles.torchvision()
    mode = transforms.InterpolationMode(wanted.interpolation)
    size = wanted.resize_to if wanted.resize == "short_side" else (wanted.resize_to, wanted.resize_to)
    compose = transforms.Compose([transforms.Resize(size, mode), transforms.CenterCrop(wanted.height)])
    return lambda image: compose(image)


def difference(one: object, other: object) -> int:
    return int(np.abs(np.asarray(one, dtype=np.int16) - np.asarray(other, dtype=np.int16)).max())


WAYS = [
    preprocessing(),
    preprocessing(224, 256, "bicubic"),
    preprocessing(224, 232, "bilinear"),
    preprocessing(224, 224, "bilinear", "squash"),
    preprocessing(160, 161),
]


@pytest.mark.parametrize("wanted", WAYS, ids=lambda w: f"{w.resize}-{w.resize_to}-{w.height}-{w.interpolation}")
def test_pixels_of_real_photos_equal_torchvisions_exactly(wanted: Preprocessing, photos: list[Path]) -> None:
    theirs = oracle(wanted)
    off_by_one = preprocessing(wanted.height, wanted.resize_to + 1, wanted.interpolation, wanted.resize)
    assert difference(to_picture(photos[0].read_bytes(), off_by_one, LIMIT), theirs(Image.open(photos[0]))) > 0
    for path in photos:
        with Image.open(path) as image:
            expected = theirs(ImageOps.exif_transpose(image).convert("RGB"))
        assert difference(to_picture(path.read_bytes(), wanted, LIMIT), expected) == 0, path.name


@pytest.mark.parametrize("size", [(1, 1), (64, 4), (31, 496), (97, 65), (65, 97), (640, 41)])
def test_pixels_of_odd_sizes_equal_torchvisions_exactly(size: tuple[int, int]) -> None:
    image = picture(*size)
    wanted = preprocessing(48, 51, "bicubic")
    assert difference(to_picture(encoded(image, "PNG"), wanted, LIMIT), oracle(wanted)(image)) == 0


def test_a_photo_too_long_to_resize_whole_is_cut_first_and_differs_by_rounding_alone() -> None:
    image = picture(64 * 20, 64)
    wanted = preprocessing(48, 56, "bilinear")
    assert difference(to_picture(encoded(image, "PNG"), wanted, LIMIT), oracle(wanted)(image)) <= 2


@pytest.mark.parametrize("tag", range(1, 9))
def test_a_photo_is_brought_upright_by_its_exif(tag: int) -> None:
    upright = to_picture((HOSTILE / "plain.png").read_bytes(), preprocessing(), LIMIT)
    assert (
        difference(to_picture((HOSTILE / f"orientation_{tag}.png").read_bytes(), preprocessing(), LIMIT), upright) == 0
    )


def test_a_damaged_exif_block_does_not_cost_the_photo() -> None:
    assert to_picture((HOSTILE / "damaged_exif.jpg").read_bytes(), preprocessing(), LIMIT).shape == (64, 64, 3)


def test_of_a_two_picture_jpeg_the_first_is_taken() -> None:
    data = (HOSTILE / "two_pictures.mpo.jpg").read_bytes()
    first = Image.open(io.BytesIO(data)).convert("RGB")
    assert difference(to_picture(data, preprocessing(), LIMIT), oracle(preprocessing())(first)) == 0


def test_sixteen_bits_are_divided_and_not_cut_off() -> None:
    red = Image.open(HOSTILE / "plain.png").getchannel("R")
    expected = oracle(preprocessing())(Image.merge("RGB", (red, red, red)))
    assert difference(to_picture((HOSTILE / "sixteen_bit.png").read_bytes(), preprocessing(), LIMIT), expected) == 0


def modes() -> dict[str, tuple[Image.Image, tuple[int, int, int]]]:
    """An image of one colour in each mode, and the RGB that it must become."""
    half = Image.new("RGBA", (70, 70), (200, 0, 0, 128))
    return {
        "grey": (Image.new("L", (70, 70), 120), (120, 120, 120)),
        "one bit": (Image.new("1", (70, 70), 1), (255, 255, 255)),
        "alpha over white": (half, (227, 127, 127)),
        "grey with alpha": (Image.new("LA", (70, 70), (0, 0)), (255, 255, 255)),
        "palette": (Image.new("RGB", (70, 70), (10, 200, 30)).quantize(4), (10, 200, 30)),
    }


@pytest.mark.parametrize("name", modes())
def test_every_mode_becomes_a_correct_rgb(name: str) -> None:
    image, colour = modes()[name]
    assert difference(to_picture(encoded(image, "PNG"), preprocessing(), LIMIT), np.full((64, 64, 3), colour)) <= 1


def test_a_palette_with_alpha_is_laid_over_white() -> None:
    data = (HOSTILE / "palette_with_alpha.png").read_bytes()
    seen = Image.open(io.BytesIO(data)).convert("RGBA")
    expected = Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB")
    assert difference(to_picture(data, preprocessing(), LIMIT), oracle(preprocessing())(expected)) == 0


def test_cmyk_becomes_the_colours_that_pillow_shows() -> None:
    data = (HOSTILE / "cmyk.jpg").read_bytes()
    expected = oracle(preprocessing())(Image.open(io.BytesIO(data)).convert("RGB"))
    assert difference(to_picture(data, preprocessing(), LIMIT), expected) == 0


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("truncated.jpg", BadImage),
        ("truncated_header.jpg", BadImage),
        ("bomb.png", TooManyPixels),
        ("lying_large.jpg", TooManyPixels),
        ("lying_below_limit.jpg", BadImage),
        ("lying_size.png", BadImage),
        ("scans_500.jpg", BadImage),
        ("scans_hidden.jpg", BadImage),
        ("empty.jpg", UnsupportedType),
        ("text.txt", UnsupportedType),
        ("drawing.svg", UnsupportedType),
        ("animated.gif", UnsupportedType),
        ("animated.png", Animated),
        ("animated.webp", Animated),
    ],
)
def test_each_hostile_file_is_refused_by_its_own_error(name: str, error: type[ImageError]) -> None:
    with pytest.raises(error):
        to_picture((HOSTILE / name).read_bytes(), preprocessing(), LIMIT)


def test_bytes_after_the_picture_that_look_like_scans_are_not_counted() -> None:
    data = encoded(picture()) + b"\xff\xda" * 300
    assert to_picture(data, preprocessing(), LIMIT).shape == (64, 64, 3)


@pytest.mark.parametrize("cut", range(0, 40, 3))
def test_a_jpeg_cut_anywhere_is_a_typed_error(cut: int) -> None:
    data = encoded(picture())
    with pytest.raises(ImageError):
        to_picture(data[: len(data) * cut // 40], preprocessing(), LIMIT)


def test_the_formats_of_refused_files_are_named() -> None:
    heic = b"\x00\x00\x00\x18ftypheic" + bytes(20)
    with pytest.raises(UnsupportedType, match="HEIC is not an accepted"):
        to_picture(heic, preprocessing(), LIMIT)


@pytest.mark.parametrize("wanted", WAYS[:4])
def test_the_fast_pixels_are_near_the_exact_ones(wanted: Preprocessing, photos: list[Path]) -> None:
    for path in photos[::4]:
        encoded = path.read_bytes()
        exact, fast = (to_picture(encoded, wanted, LIMIT, exact).astype(int) for exact in (True, False))
        assert fast.shape == exact.shape
        assert abs(fast - exact).mean() < 3
        shifted = np.roll(exact, 1, axis=1)
        assert abs(shifted - exact).mean() > abs(fast - exact).mean()  # half a pixel would show


@pytest.mark.parametrize("tag", range(1, 9))
def test_a_large_turned_photo_is_decoded_small_and_upright(tag: int) -> None:
    large = picture(1600, 1200, seed=3)
    exif = Image.Exif()
    exif[0x0112] = tag
    encoded_photo = encoded(large, exif=exif, quality=95)
    wanted = preprocessing(64, 72)
    exact, fast = (to_picture(encoded_photo, wanted, LIMIT, exact).astype(int) for exact in (True, False))
    assert abs(fast - exact).mean() < 2
    assert abs(np.rot90(exact) - exact).mean() > 10
