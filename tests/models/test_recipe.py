"""The recipe of the demo network: it reads Tiny ImageNet, trains, and leaves only whole files."""

import math
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models import checkpoint, formats
from models.complexity import parameters
from models.errors import CheckpointError
from models.loading import load
from models.networks.design import Traits
from models.recipes import accuracy, dataset, training
from models.recipes.accuracy import Accuracy
from models.recipes.crops import _scaling, normalised, random_crops
from models.recipes.dataset import RecipeError
from models.recipes.epochs import Epoch, TrainingOptions, save, train
from models.recipes.network import initialised, spec, squeezed_channels
from models.recipes.tiny_imagenet import main
from models.recipes.training import rate
from models.seresnet_reader import read

ROOT = Path(__file__).parents[2]
DEMO_WEIGHTS = ROOT.parent / "shared/data/weights/seresnet18_tiny.pth"
REAL_PHOTOS = ROOT.parent / "shared/data/tiny-imagenet"

COLOURS = {"n00000003": (220, 40, 40), "n00000001": (40, 200, 60), "n00000004": (50, 60, 210), "n00000002": (200,) * 3}
"""A class is a colour; the order here is not the sorted one."""

SMALL = TrainingOptions(epochs=5, batch=16, width=8)


def paint(file: Path, colour: tuple[int, ...], rng: np.random.Generator, side: int = 64) -> None:
    noise = rng.normal(0, 30, (side, side, 3))
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(noise + colour, 0, 255).astype(np.uint8)).save(file, "JPEG")


def paint_flat(folder: Path, train_each: int = 16, val_each: int = 4) -> Path:
    rng = np.random.default_rng(1)
    for split, each in (("train", train_each), ("val", val_each)):
        for wnid, colour in sorted(COLOURS.items()):
            for number in range(each):
                paint(folder / split / f"{wnid}_{number}.JPEG", colour, rng)
    return folder


def paint_official(folder: Path, train_each: int = 16, val_each: int = 4) -> Path:
    rng = np.random.default_rng(1)
    for wnid, colour in sorted(COLOURS.items()):
        for number in range(train_each):
            paint(folder / "train" / wnid / "images" / f"{wnid}_{number}.JPEG", colour, rng)
    lines = []
    for index, (wnid, colour) in enumerate((w, c) for w, c in sorted(COLOURS.items()) for _ in range(val_each)):
        paint(folder / "val" / "images" / f"val_{index}.JPEG", colour, rng)
        lines.append(f"val_{index}.JPEG\t{wnid}\t0\t32\t44\t62\n")
    (folder / "val" / "val_annotations.txt").write_text("".join(lines))
    (folder / "wnids.txt").write_text("".join(f"{wnid}\n" for wnid in COLOURS))
    return folder


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """So small networks do not gain from threads: on busy cores they would wait for each other at every layer."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paint_flat(tmp_path_factory.mktemp("flat"))


def listen(line: str) -> None:
    """A log that nobody reads."""


def refusal(folder: Path, out: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    with pytest.raises(SystemExit) as left:
        main([str(folder), str(out), *more])
    assert left.value.code == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("training: ") and lines[-1].endswith(".")
    assert not any("Traceback" in line for line in lines)
    assert not out.exists()
    return lines[-1]


# What is read


def test_both_layouts_give_the_same_photos_and_the_classes_sorted(tmp_path: Path, flat: Path) -> None:
    one, other = dataset.read(flat), dataset.read(paint_official(tmp_path))
    assert one.classes == other.classes == tuple(sorted(COLOURS))
    for split in ("train", "val"):
        mine, yours = getattr(one, split), getattr(other, split)
        assert mine.pixels.dtype == np.uint8 and mine.pixels.shape[1:] == (64, 64, 3)
        brightness = [[seen.pixels[seen.labels == c].mean((0, 1, 2)) for c in range(4)] for seen in (mine, yours)]
        assert np.allclose(brightness[0], brightness[1], atol=2)
        assert np.allclose(brightness[0], [COLOURS[c] for c in one.classes], atol=12)
        assert mine.labels.tolist() == yours.labels.tolist()


def test_grey_photos_become_rgb(tmp_path: Path) -> None:
    folder = paint_flat(tmp_path, 1, 1)
    Image.new("L", (64, 64), 90).save(folder / "train" / "n00000001_7.JPEG")
    data = dataset.read(folder)
    assert data.train.pixels[1].tolist() == [[[90, 90, 90]] * 64] * 64


@pytest.mark.skipif(not REAL_PHOTOS.is_dir(), reason="the sample of Tiny ImageNet in ../shared is not here")
def test_the_flat_sample_of_the_real_tiny_imagenet_is_read() -> None:
    data = dataset.read(REAL_PHOTOS)
    assert (len(data.classes), len(data.train), len(data.val)) == (200, 1000, 2000)
    assert data.classes[0] == "n01443537" and np.bincount(data.train.labels).tolist() == [5] * 200


def spoil_everything(folder: Path) -> None:
    for file in folder.rglob("*.*"):
        file.unlink()


def spoil_val_list(folder: Path) -> None:
    (folder / "val" / "val_annotations.txt").unlink()


def spoil_class_list(folder: Path) -> None:
    (folder / "wnids.txt").unlink()


def spoil_class(folder: Path) -> None:
    for file in (folder / "train" / "n00000002" / "images").iterdir():
        file.unlink()


def spoil_label(folder: Path) -> None:
    with (folder / "val" / "val_annotations.txt").open("a") as file:
        file.write("val_0.JPEG\tn09999999\t0\t0\t1\t1\n")


def spoil_line(folder: Path) -> None:
    (folder / "val" / "val_annotations.txt").write_text("val_0.JPEG n00000001 0 0 1 1\n")


def spoil_val(folder: Path) -> None:
    (folder / "val" / "val_annotations.txt").write_text("\n")


def spoil_photo(folder: Path) -> None:
    file = folder / "train" / "n00000002" / "images" / "n00000002_0.JPEG"
    file.write_bytes(file.read_bytes()[:300])


def spoil_size(folder: Path) -> None:
    paint(folder / "val" / "images" / "val_1.JPEG", (1, 2, 3), np.random.default_rng(0), side=60)


def spoil_name(folder: Path) -> None:
    paint(folder / "train" / "holiday.JPEG", (1, 2, 3), np.random.default_rng(0))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (spoil_everything, "it has no file 'val/val_annotations.txt'"),
        (spoil_val_list, "it has no file 'val/val_annotations.txt'"),
        (spoil_class_list, "it has no file 'wnids.txt'"),
        (spoil_class, "'train' has no photo of class n00000002"),
        (spoil_label, "photos of n09999999, which is not among its classes"),
        (spoil_line, "line 1 of val/val_annotations.txt has no tab"),
        (spoil_val, "'val' holds no photos"),
        (spoil_photo, "cannot be read as a photo"),
        (spoil_size, "is 60x60 pixels"),
        (spoil_name, "'train/holiday.JPEG' is not named <WordNet id>_<number>.JPEG"),
    ],
)
def test_a_folder_that_is_not_tiny_imagenet_is_refused_in_one_sentence(
    spoil: object, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = paint_official(tmp_path / "data", 1, 1)
    assert callable(spoil)
    spoil(folder)
    assert said in refusal(folder, tmp_path / "out.pth", capsys)


def test_a_folder_without_train_and_val_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "it has no folder 'train'" in refusal(tmp_path, tmp_path / "out.pth", capsys)
    assert "it has no folder 'train'" in refusal(tmp_path / "nowhere", tmp_path / "out.pth", capsys)


# What is seen


def test_a_crop_is_scaled_as_pillow_scales_it() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    left, top, wide, tall = 3.3, 10.9, 58.2, 47.5
    columns = _scaling(np.array([left]), np.array([wide]), 64, 48)
    rows = _scaling(np.array([top]), np.array([tall]), 64, 48)
    ours = (rows @ torch.from_numpy(photo).permute(2, 0, 1)[None].float() @ columns.mT)[0].permute(1, 2, 0)
    box = (left, top, left + wide, top + tall)
    pillow = Image.fromarray(photo).resize((48, 48), Image.Resampling.BILINEAR, box)
    assert np.abs(ours.numpy() - np.asarray(pillow, np.float32)).max() <= 1  # Pillow rounds twice
    mirrored = _scaling(np.array([left + wide]), np.array([-wide]), 64, 48)
    assert torch.allclose(mirrored, columns.flip(2), atol=1e-6)


def test_random_crops_stay_inside_the_photo_and_mirror_about_half() -> None:
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8)[:, None], (400, 64, 64, 3))
    crops = random_crops(torch.from_numpy(ramp.copy()), 48, np.random.default_rng(0))
    assert crops.shape == (400, 3, 48, 48)
    assert crops.min() >= 0 and crops.max() <= 63
    spans = (crops[:, 0, 0, -1] - crops[:, 0, 0, 0]) / 63
    assert 150 < int((spans < 0).sum()) < 250
    assert 0.5 < float(spans.abs().min()) < 0.7 and float(spans.abs().max()) > 0.9


def test_normalised_photos_have_mean_0_and_deviation_1_where_the_photos_have_imagenets() -> None:
    grey = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1) * 255
    step = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1) * 255
    assert torch.allclose(
        normalised(torch.cat([grey, grey + step])).flatten(1), torch.tensor([[0.0], [1.0]]), atol=1e-5
    )


# What is trained


@pytest.mark.skipif(not DEMO_WEIGHTS.is_file(), reason="the demo weights in ../shared are not here")
def test_at_width_24_the_network_has_the_shapes_of_the_demo_weights() -> None:
    network = initialised(spec(24, 200), seed=0)
    demo = checkpoint.read(DEMO_WEIGHTS).tensors
    assert parameters(network) == 1_641_720
    assert {k: v.shape for k, v in network.state_dict().items()} == {k: v.shape for k, v in demo.items()}
    assert read(demo, Traits("A", "3x3s2")) == spec(24, 200)


def test_squeeze_widths_are_timms() -> None:
    channels = (8, 24, 48, 96, 144, 191, 192, 256, 320, 512, 2048)
    assert [squeezed_channels(c) for c in channels] == [8, 8, 8, 8, 8, 8, 16, 16, 24, 32, 128]


@pytest.mark.parametrize("width", [8, 64])
def test_any_width_is_read_back_from_its_tensors(width: int) -> None:
    wanted = spec(width, 7)
    assert read(initialised(wanted, seed=0).state_dict(), Traits("A", "3x3s2")) == wanted


def test_every_block_begins_as_its_shortcut() -> None:
    network = initialised(spec(8, 4), seed=0)
    block = network.get_submodule("layer2.1").eval()
    x = torch.rand(2, 16, 8, 8)
    assert torch.equal(block(x), x)


def test_the_rate_climbs_in_a_line_and_falls_along_a_cosine() -> None:
    rates = [rate(step, 10_000, 0.1) for step in range(10_000)]
    assert rates[0] == pytest.approx(0.1 / 500) and rates[249] == pytest.approx(0.05)
    assert rates[499] == pytest.approx(0.1) and max(rates) == pytest.approx(0.1)
    assert rates[500 + 4750] == pytest.approx(0.05)
    assert all(a > b for a, b in pairwise(rates[500:])) and 0 < rates[-1] < 1e-6
    assert [rate(step, 2, 0.1) for step in range(2)] == pytest.approx([0.1, 0.05])


def test_only_kernels_decay() -> None:
    network = initialised(spec(8, 4), seed=0)
    kernels, vectors = training.optimiser(network).param_groups
    assert (kernels["weight_decay"], vectors["weight_decay"]) == (5e-4, 0.0)
    assert {p.ndim for p in kernels["params"]} == {2, 4} and {p.ndim for p in vectors["params"]} == {1}
    assert len(kernels["params"]) + len(vectors["params"]) == len(list(network.parameters()))


def test_top_1_and_top_5_are_counted_as_they_are() -> None:
    class Fixed(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.arange(8.0, 0, -1).expand(len(x), 8)  # ranks the classes 0, 1, 2, …

    labels = np.array([0, 0, 1, 4, 5, 7], np.int64)
    seen = dataset.Split(np.zeros((6, 64, 64, 3), np.uint8), labels)
    assert accuracy.measure(Fixed(), seen, torch.device("cpu")) == Accuracy(2 / 6, 4 / 6)


def test_training_lowers_the_loss_and_names_the_colours(flat: Path) -> None:
    epochs = list(train(dataset.read(flat), SMALL, listen))
    assert [(epoch.number, epoch.size) for epoch in epochs] == [(1, 48), (2, 48), (3, 48), (4, 48), (5, 64)]
    assert epochs[-1].loss < 0.7 * epochs[0].loss
    assert max(epochs[-1].raw, epochs[-1].averaged).top1 >= 0.9  # chance is 0.25


def test_the_same_seed_gives_the_same_training_and_another_one_another(flat: Path) -> None:
    data = dataset.read(flat)
    losses = [next(train(data, TrainingOptions(2, 16, width=8, seed=seed), listen)).loss for seed in (3, 3, 4)]
    assert losses[0] == losses[1] != losses[2]


def test_the_average_follows_the_weights_and_every_counter(flat: Path) -> None:
    data = dataset.read(flat)
    run = training.Training(initialised(spec(8, 4), 0), 0.1, 16, 4, 0, listen)
    before = run.averaged.get_parameter("fc.weight").detach().clone()
    run.epoch(data.train, 48)
    after, raw = (net.get_parameter("fc.weight").detach() for net in (run.averaged, run.network))
    assert not torch.equal(after, before) and 0 < float((after - raw).norm()) < float((before - raw).norm())
    assert int(run.averaged.get_buffer("bn1.num_batches_tracked")) == 4


def test_progress_is_reported_every_so_many_steps(flat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "REPORT_EVERY", 3)
    said: list[str] = []
    list(train(dataset.read(flat), TrainingOptions(epochs=2, batch=16, width=8), said.append))
    assert len(said) == 2
    assert re.fullmatch(r"step 3/8: loss \d\.\d{3}, \d+ ms a step, \d+ min left", said[0])


# What is left behind


def test_the_file_loads_as_any_checkpoint_does_and_answers_as_it_did(
    tmp_path: Path, flat: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.pth"
    main([str(flat), str(out), "--epochs", "5", "--batch", "16", "--width", "8"])
    assert capsys.readouterr().out == f"{out}\n"
    content = torch.load(out, weights_only=True)
    assert list(content) == ["arch", "width", "epoch", "top1", "top5", "classes", "state_dict"]
    assert (content["arch"], content["width"], content["epoch"]) == ("seresnet18", 8, 5)
    assert content["classes"] == sorted(COLOURS) and content["top1"] >= 0.9 and content["top5"] == 1
    tensors = checkpoint.read(out).tensors
    known = formats.detect(tensors)
    assert known
    tensors = known.canonical(tensors)
    network = load(tensors, read(tensors, Traits("A", "3x3s2")))
    assert accuracy.measure(network, dataset.read(flat).val, torch.device("cpu")).top1 == content["top1"]
    assert list(tmp_path.iterdir()) == [out]


def test_a_second_training_goes_on_from_the_first_at_full_size(tmp_path: Path, flat: Path) -> None:
    data = dataset.read(flat)
    first = tmp_path / "first.pth"
    *_, last = train(data, SMALL, listen)
    save(first, last, SMALL, data.classes)
    again = next(train(data, TrainingOptions(1, 16, 0.001, 8, start_from=first), listen))
    assert again.size == 64
    assert max(again.raw, again.averaged).top1 >= 0.9
    with pytest.raises(CheckpointError, match="misshapen"):
        next(train(data, TrainingOptions(1, 16, width=16, start_from=first), listen))


def test_options_that_cannot_work_are_rejected_before_any_work(
    tmp_path: Path, flat: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.pth"
    assert "do not fill a batch of 500" in refusal(flat, out, capsys, "--batch", "500")
    assert "There is no file" in refusal(flat, out, capsys, "--batch", "16", "--start-from", str(tmp_path / "no.pth"))
    assert "in a folder that exists" in refusal(flat, tmp_path / "no" / "out.pth", capsys)
    for option, value, said in (
        ("--epochs", "0", "it must be 1 or more"),
        ("--seed", "-1", "'-1' is not a whole number"),
    ):
        with pytest.raises(SystemExit) as left:
            main([str(flat), str(out), f"{option}={value}"])
        assert left.value.code == 2 and said in capsys.readouterr().err


def test_a_loss_that_is_lost_ends_the_training_and_writes_nothing(
    tmp_path: Path, flat: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.pth"
    said = refusal(flat, out, capsys, "--epochs", "1", "--batch", "16", "--width", "8", "--peak-rate", "1e30")
    assert "lower --peak-rate" in said and not list(tmp_path.iterdir())


def untrained(width: int = 8) -> Epoch:
    none = Accuracy(0.25, 1.0)
    return Epoch(1, 64, math.log(4), none, none, initialised(spec(width, 4), 0))


def test_a_file_that_cannot_be_written_leaves_the_old_one_and_no_part(tmp_path: Path) -> None:
    out = tmp_path / "out.pth"
    save(out, untrained(), SMALL, tuple(sorted(COLOURS)))
    old = out.read_bytes()
    blocked = tmp_path / "taken.pth"
    (blocked / "by a folder").mkdir(parents=True)
    with pytest.raises(RecipeError, match="cannot be written"):
        save(blocked, untrained(), SMALL, tuple(sorted(COLOURS)))
    assert out.read_bytes() == old
    assert sorted(tmp_path.iterdir()) == [out, blocked]


def test_an_interrupt_while_writing_leaves_the_old_file_and_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "out.pth"
    out.write_bytes(b"the old one")
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(out, untrained(), SMALL, tuple(sorted(COLOURS)))
    assert out.read_bytes() == b"the old one" and list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_training_leaves_its_last_epoch_whole(sent: signal.Signals, tmp_path: Path, flat: Path) -> None:
    out = tmp_path / "out.pth"
    command = [sys.executable, "-m", "models.recipes.tiny_imagenet", str(flat), str(out)]
    command += ["--epochs", "100000", "--batch", "16", "--width", "8", "--threads", "1"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        heard = next((line for line in process.stderr if line.startswith("epoch 2 ")), "")
        process.send_signal(sent)
        rest = process.stderr.read()
        process.wait()
    assert heard and process.returncode == 130, rest
    last = re.fullmatch(rf"training: interrupted; '{re.escape(str(out))}' holds epoch (\d+)\.", rest.splitlines()[-1])
    assert last and "Traceback" not in rest
    assert torch.load(out, weights_only=True)["epoch"] == int(last[1]) >= 2
    assert list(tmp_path.iterdir()) == [out]
