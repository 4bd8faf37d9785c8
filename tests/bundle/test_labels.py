"""Label tables, and ImageNet's own against timm's."""

from pathlib import Path

import pytest

from bundle import labels
from bundle.errors import BundleError
from bundle.labels import Label
from tests import oracles


def test_imagenet_has_timms_class_order_and_timms_first_lemma() -> None:
    oracles.timm()
    from timm.data import ImageNetInfo

    theirs = ImageNetInfo()
    ours = labels.imagenet()
    assert [label.id for label in ours] == theirs.label_names()
    for index, label in enumerate(ours):
        assert label.name.split(" (")[0] == theirs.index_to_description(index).split(", ")[0]


def test_no_two_imagenet_labels_are_the_same() -> None:
    names = [label.name for label in labels.imagenet()]
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


@pytest.mark.parametrize("row", ["1\tn01\ttench", "0\tn01", "0\tn01\t", "0\tn01\ttench\tmore"])
def test_a_row_that_is_no_row_is_refused_by_its_line(row: str) -> None:
    with pytest.raises(BundleError, match="Line 2"):
        labels.from_tsv(f"{labels.HEADER}\n{row}\n")


def test_a_file_of_wordnet_ids_gets_readable_names(tmp_path: Path) -> None:
    file = tmp_path / "classes.txt"
    file.write_text("n01440764\nmy own class\n")
    assert labels.from_file(file) == (Label("n01440764", "tench"), Label("my own class", "my own class"))


@pytest.mark.parametrize("content", [b"", b"one\n\nthree\n", b"\xff\xfe\x00"])
def test_a_label_file_that_cannot_be_used_is_refused(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "classes.txt"
    file.write_bytes(content)
    with pytest.raises(BundleError):
        labels.from_file(file)
