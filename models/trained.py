"""Trained: a checkpoint understood, so that its network can be built and its photos prepared."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from models import checkpoint, formats, libraries, loading
from models.checkpoint import Checkpoint
from models.design import Design, Traits
from models.errors import CheckpointError, TensorMissing
from models.fit import Fit
from models.formats.format import Format
from models.tensors import Tensors


@dataclass(frozen=True)
class Told:
    """What the user says of a checkpoint; None leaves it to the file and its format.

    `arch` is a name that the network must turn out to have, or `timm:NAME` for a network that timm defines.
    """

    format: str | None = None
    weights: str | None = None
    arch: str | None = None
    traits: Traits = Traits()
    skip_objects: bool = False


@dataclass(frozen=True)
class Trained:
    """A checkpoint with its network's design, the tensors under canonical names, and what came with its format.

    `original` tells the file's own name of a canonical tensor; `labels` the set whose order its classes have.
    """

    source: Checkpoint
    format: str
    design: Design
    tensors: Tensors
    fit: Fit
    labels: str
    original: Callable[[str], str] = str
    reading: Callable[[Tensors, Traits], Design] | None = None

    def network(self) -> nn.Module:
        """The network in evaluation mode, normalised images (n, 3, h, w) to logits (n, classes).

        Raises CheckpointError when a tensor is missing, extra, misshapen or not finite.
        """
        return loading.load(self.tensors, self.design, self.original)

    def with_traits(self, traits: Traits) -> "Trained":
        """The same tensors as a network of other traits."""
        if self.reading is None:
            raise CheckpointError(f"A {self.design.name} has no variants.")
        return replace(self, design=self.reading(self.tensors, traits))


def understand(path: Path, told: Told = Told()) -> Trained:
    """Open a checkpoint and find what network it makes.

    Raises CheckpointError, one sentence with its cure, where that cannot be told.
    """
    library = told.arch if libraries.is_library(told.arch) else None
    if library is not None:
        opened = checkpoint.read(path, told.weights, libraries.knows(library), told.skip_objects)
        return _of_library(library, opened, replace(told, arch=None))
    wanted = formats.named(told.format) if told.format is not None else None
    known = wanted.recognises if wanted is not None else _is_known
    opened = checkpoint.read(path, told.weights, known, told.skip_objects)
    layout = wanted or formats.detect(opened.tensors)
    if layout is None:
        return _of_library(_library_of(opened), opened, told)
    return _of_format(layout, opened, told)


def _is_known(tensors: Tensors) -> bool:
    return formats.detect(tensors) is not None or libraries.recognise(tensors) is not None


def _of_format(layout: Format, opened: Checkpoint, told: Told) -> Trained:
    tensors = layout.canonical(opened.tensors)
    traits = _overridden(layout.traits(tensors, opened), told.traits)
    try:
        design = layout.read(tensors, traits)
    except TensorMissing as error:
        raise TensorMissing(layout.original(error.name)) from error
    _demand(design, told)
    return Trained(opened, layout.name, design, tensors, layout.fit, layout.labels, layout.original, layout.read)


def _of_library(arch: str, opened: Checkpoint, told: Told) -> Trained:
    design = libraries.design(arch, opened.tensors)
    _demand(design, told)
    return Trained(opened, arch.partition(":")[0], design, opened.tensors, libraries.fit(arch), "imagenet-1k")


def _library_of(opened: Checkpoint) -> str:
    """The network of timm or torchvision that the tensors, or the file's own word, tell."""
    found = libraries.recognise(opened.tensors) or libraries.named_by(opened.arch)
    if found is None:
        raise CheckpointError(
            f"No known format has tensors named like {', '.join(map(repr, sorted(opened.tensors)[:3]))}, …: they are "
            f"{', '.join(known.name for known in formats.FORMATS)}; of a network that timm defines say "
            "--arch timm:NAME, and of a file with several sets --weights NAME."
        )
    return found


def _overridden(traits: Traits, by: Traits) -> Traits:
    return replace(
        traits,
        variant=by.variant or traits.variant,
        stem=by.stem or traits.stem,
        se_place=by.se_place or traits.se_place,
    )


def _demand(design: Design, told: Told) -> None:
    """What the user said of the network must be so."""
    if told.arch is not None and told.arch != design.name:
        raise CheckpointError(
            f"The tensors make a {design.name}, not a {told.arch}: drop --arch, or give the right file."
        )
    for option, said, used in (
        ("--variant", told.traits.variant, design.traits.variant),
        ("--stem", told.traits.stem, design.traits.stem),
        ("--se-place", told.traits.se_place, design.traits.se_place),
    ):
        if said is not None and said != used:
            raise CheckpointError(f"A {design.name} takes no {option}: drop it.")
