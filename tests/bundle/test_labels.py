"""Label tables, and the known label sets compared with independent sources."""

from pathlib import Path

import numpy as np
import pytest

from bundle import labels, labelsets, predictions
from bundle.errors import BundleError
from bundle.labels import Label
from tests.support import oracles


def test_imagenet_has_timms_class_order_and_timms_first_lemma() -> None:
    oracles.timm()
    from timm.data.imagenet_info import ImageNetInfo

    theirs = ImageNetInfo()
    ours = labelsets.imagenet()
    assert [label.id for label in ours] == theirs.label_names()  # type: ignore[no-untyped-call]  # timm's own
    for index, label in enumerate(ours):
        assert label.name.split(" (")[0] == theirs.index_to_description(index).split(", ")[0]


def test_no_two_imagenet_labels_are_the_same() -> None:
    names = [label.name for label in labelsets.imagenet()]
    assert len(set(names)) == 1000
    assert {name for name in names if name.startswith(("crane", "maillot"))} == {
        "crane (bird)",
        "crane (lifting machine)",
        "maillot",
        "maillot (tank suit)",
    }


def test_a_table_survives_writing_and_reading() -> None:
    table = (Label("n01", "tench"), Label("/a/airfield", "airfield"), Label("ü", "Überraschung, groß"))
    assert labels.from_tsv(labels.to_tsv(table)) == table
    grouped = (
        Label("arena/hockey", "arena (hockey)", "indoor"),
        Label("x", "x"),
        Label("airfield", "airfield", "outdoor"),
    )
    assert labels.from_tsv(labels.to_tsv(grouped)) == grouped


def test_every_set_has_as_many_distinct_classes_as_networks_of_it() -> None:
    counts = {name: len({label.id for label in labelsets.named(name)}) for name in labelsets.SETS}
    assert counts == {
        "imagenet-1k": 1000,
        "imagenet-1k-devkit": 1000,
        "imagenet-1k-background": 1001,
        "places365": 365,
        "cifar-10": 10,
    }
    assert [labelsets.for_count(count) for count in (1000, 1001, 365, 10)] == [
        "imagenet-1k", "imagenet-1k-background", "places365", None,
    ]  # fmt: skip


def test_the_devkit_order_is_that_of_the_original_caffe_networks(shared: Path) -> None:
    """Compares two independent sources: a map from sorted to devkit order, and the list of synsets."""
    to_devkit = [int(line) - 1 for line in (shared / "labels" / "mcnSENets_label_map.txt").read_text().split()]
    devkit = labelsets.named("imagenet-1k-devkit")
    assert [devkit[place] for place in to_devkit] == list(labelsets.imagenet())


def test_places_have_the_official_names_and_groups(shared: Path) -> None:
    official = (shared / "labels" / "places365_IO_places365.txt").read_text().split("\n")
    rows = [line.split() for line in official if line]
    table = labelsets.named("places365")
    assert [label.id for label in table] == [path[3:] for path, _ in rows]
    assert [label.group for label in table] == [("indoor", "outdoor")[int(kind) - 1] for _, kind in rows]
    assert {"arena (hockey)", "airplane cabin"} <= {label.name for label in table}


@pytest.mark.parametrize(
    ("indoor", "group", "votes"), [(10, "indoor", 10), (6, "indoor", 6), (5, "outdoor", 5), (0, "outdoor", 10)]
)
def test_the_ten_best_classes_vote_as_in_the_official_demo(indoor: int, group: str, votes: int) -> None:
    """There the mean of 0 (indoor) and 1 (outdoor) below 0.5 is indoor."""
    table = labelsets.named("places365")
    inside = [index for index, label in enumerate(table) if label.group == "indoor"]
    outside = [index for index, label in enumerate(table) if label.group == "outdoor"]
    row = np.full(365, 0.0005, np.float32)
    row[inside[:indoor] + outside[: 10 - indoor]] = 0.05
    assert predictions.vote(row, table) == predictions.Vote(group, votes, 10)
    assert predictions.vote(row[:10], labelsets.named("cifar-10")) is None


@pytest.mark.parametrize("row", ["1\tn01\ttench", "0\tn01", "0\tn01\t", "0\tn01\ttench\tmore"])
def test_a_row_that_is_no_row_is_refused_by_its_line(row: str) -> None:
    with pytest.raises(BundleError, match="Line 2"):
        labels.from_tsv(f"{labels.HEADER}\n{row}\n")


def test_a_file_of_wordnet_ids_gets_readable_names(tmp_path: Path) -> None:
    file = tmp_path / "classes.txt"
    file.write_text("n01440764\nmy own class\n")
    assert labelsets.from_file(file) == (Label("n01440764", "tench"), Label("my own class", "my own class"))


@pytest.mark.parametrize("content", [b"", b"one\n\nthree\n", b"\xff\xfe\x00", b"a\tb\nc\n", b"one\ntwo\none\n"])
def test_a_label_file_that_cannot_be_used_is_refused(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "classes.txt"
    file.write_bytes(content)
    with pytest.raises(BundleError):
        labelsets.from_file(file)


def test_only_line_feeds_end_a_line(tmp_path: Path) -> None:
    file = tmp_path / "classes.txt"
    file.write_bytes("one\x0bmore\r\ntwo\u2028still two\r\n".encode())
    assert [label.id for label in labelsets.from_file(file)] == ["one\x0bmore", "two\u2028still two"]


def test_ids_of_a_checkpoint_get_readable_names() -> None:
    assert labels.from_names(["n01440764", "mine"], labelsets.imagenet()) == (
        Label("n01440764", "tench"),
        Label("mine", "mine"),
    )
