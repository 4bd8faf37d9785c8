"""Trained: the network in a checkpoint, found out from its tensors, and how photos are prepared for it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from models import checkpoint, formats, libraries, loading
from models.checkpoint import Checkpoint
from models.errors import CheckpointError, TensorMissing
from models.evaluation import EvaluationTransform
from models.formats.format import Format
from models.networks.design import Design, Traits
from models.tensors import Tensors


@dataclass(frozen=True)
class ReadOptions:
    """What the user states about a checkpoint. None: decided by the file and its format.

    `format` names one of `models.formats`, `weights` the set to take where the file holds several. `arch` is the name
    that the network must prove to have, or `timm:NAME` for a network that timm defines. `skip_objects` leaves objects
    out that are not plain data, instead of rejecting the file.
    """

    format: str | None = None
    weights: str | None = None
    arch: str | None = None
    traits: Traits = Traits()
    skip_objects: bool = False


@dataclass(frozen=True)
class Trained:
    """A checkpoint with the design of its network and its tensors under canonical names.

    `labels` is the label set whose order its classes have. `original` gives the file's own name of a canonical tensor.
    `read_design` makes a design from the tensors and other traits; None where the network has no variants.
    """

    source: Checkpoint
    format: str
    design: Design
    tensors: Tensors
    transform: EvaluationTransform
    labels: str
    original: Callable[[str], str] = str
    read_design: Callable[[Tensors, Traits], Design] | None = None

    def network(self) -> nn.Module:
        """The network in evaluation mode: normalised images (n, 3, h, w) to logits (n, classes).

        Raises CheckpointError when a tensor is missing, extra, misshapen or not finite.
        """
        return loading.load(self.tensors, self.design, self.original)

    def with_traits(self, traits: Traits) -> "Trained":
        """The same tensors as a network of other traits. Raises CheckpointError where the network has no variants."""
        if self.read_design is None:
            raise CheckpointError(f"A {self.design.name} has no variants: drop --variant.")
        return replace(self, design=self.read_design(self.tensors, traits))


def understand(path: Path, options: ReadOptions = ReadOptions()) -> Trained:
    """Open a checkpoint and find out which network it holds.

    Raises CheckpointError where that is not possible.
    """
    library = options.arch if libraries.is_library(options.arch) else None
    if library is not None:
        opened = checkpoint.read(path, options.weights, libraries.matcher(library), options.skip_objects)
        return _of_library(library, opened, replace(options, arch=None))
    wanted = formats.named(options.format) if options.format is not None else None
    known = wanted.recognises if wanted is not None else _is_known
    opened = checkpoint.read(path, options.weights, known, options.skip_objects)
    layout = wanted or formats.detect(opened.tensors)
    if layout is None:
        return _of_library(_library_of(opened), opened, options)
    return _of_format(layout, opened, options)


def _is_known(tensors: Tensors) -> bool:
    return formats.detect(tensors) is not None or libraries.recognise(tensors) is not None


def _of_format(layout: Format, opened: Checkpoint, options: ReadOptions) -> Trained:
    tensors = layout.canonical(opened.tensors)
    traits = _overridden(layout.traits(tensors, opened), options.traits)
    try:
        design = layout.read(tensors, traits)
    except TensorMissing as error:
        raise TensorMissing(layout.original(error.name)) from error
    _check(design, options)
    return Trained(opened, layout.name, design, tensors, layout.transform, layout.labels, layout.original, layout.read)


def _of_library(arch: str, opened: Checkpoint, options: ReadOptions) -> Trained:
    design = libraries.design(arch, opened.tensors)
    _check(design, options)
    return Trained(opened, arch.partition(":")[0], design, opened.tensors, libraries.transform(arch), "imagenet-1k")


def _library_of(opened: Checkpoint) -> str:
    """The network of timm or torchvision, by the tensors or by the name in the file. Raises CheckpointError."""
    found = libraries.recognise(opened.tensors) or libraries.named_by(opened.arch)
    if found is None:
        raise CheckpointError(
            f"No known format names tensors like {', '.join(map(repr, sorted(opened.tensors)[:3]))}, …. Known are "
            f"{', '.join(known.name for known in formats.FORMATS)}. For a network that timm defines give "
            "--arch timm:NAME, for a file with several sets of weights --weights NAME."
        )
    return found


def _overridden(traits: Traits, by: Traits) -> Traits:
    """`by` where it is known, else `traits`."""
    return replace(
        traits,
        variant=by.variant or traits.variant,
        stem=by.stem or traits.stem,
        se_place=by.se_place or traits.se_place,
    )


def _check(design: Design, options: ReadOptions) -> None:
    """Raises CheckpointError where the network is not what the user stated."""
    if options.arch is not None and options.arch != design.name:
        raise CheckpointError(
            f"The tensors make a {design.name}, not a {options.arch}: drop --arch, or give the right file."
        )
    for option, given, used in (
        ("--variant", options.traits.variant, design.traits.variant),
        ("--stem", options.traits.stem, design.traits.stem),
        ("--se-place", options.traits.se_place, design.traits.se_place),
    ):
        if given is not None and given != used:
            raise CheckpointError(f"A {design.name} takes no {option}: drop it.")
