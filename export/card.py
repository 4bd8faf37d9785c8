"""CARD.md: describes a bundle for the people who want to use it."""

from bundle.manifest import Architecture, Manifest, ParityRow

_INPUTS = {"generated": "generated images (noise, gradients, edges)", "photos": "photos"}
_NO_NOTES = "Its training data, accuracy and licence were not given at its export (`--notes FILE`)."


def card(manifest: Manifest, notes: str | None) -> str:
    """The card in Markdown. `notes` are the user's own words on training data, accuracy and licence."""
    network, labels, preprocessing, source = (
        manifest.architecture,
        manifest.labels,
        manifest.preprocessing,
        manifest.source,
    )
    parity = manifest.parity[0]
    size = f"{preprocessing.height}x{preprocessing.width}"
    squash = f"squashed to {preprocessing.resize_to}x{preprocessing.resize_to}"
    resize = f"shorter side to {preprocessing.resize_to}" if preprocessing.resize == "short_side" else squash
    facts = {
        "architecture": ", ".join((network.name, *_traits(network), f"{len(network.se_blocks)} SE blocks")),
        "size": f"{network.parameters / 1e6:.2f} M parameters, {network.macs / 1e9:.3f} G multiply-adds per image",
        "labels": f"{labels.classes} classes, {labels.set}",
        "preprocessing": f"EXIF orientation, RGB, {resize} ({preprocessing.interpolation}), centre crop {size}; "
        f"mean {_triple(preprocessing.mean)} and std {_triple(preprocessing.std)} on the scale 0..255",
        "source": f"{source.file}, {source.format} names, {source.taken}, sha256 {source.sha256}",
        "parity": f"{parity.engine} {parity.precision} compared with the torch network on {parity.images} "
        f"{_INPUTS[parity.inputs]}: max Δp {parity.max_dp:.1e}, max Δ log p {parity.max_dlogp:.1e} over the top ten, "
        f"same top-1 for {parity.top1_agreement:.1%}, same top-5 for {parity.top5_agreement:.1%}",
    }
    facts |= {f"{row.precision} in {row.engine}": _cost(row) for row in manifest.parity[1:]}
    table = "\n".join(f"| {what} | {fact} |" for what, fact in facts.items())
    return f"# {manifest.name}\n\n{notes.strip() if notes else _NO_NOTES}\n\n## Facts\n\n| | |\n|---|---|\n{table}\n"


def _cost(row: ParityRow) -> str:
    """What a lower precision costs."""
    agreement = f"same best class for {row.sure_agreement:.1%} of {row.sure_images} photos with a sure reference answer"
    if row.accuracy is None or row.accuracy_fp32 is None:
        return agreement
    return f"{agreement}; top-1 {row.accuracy:.1%} instead of {row.accuracy_fp32:.1%} on {row.labelled} photos"


def _traits(network: Architecture) -> list[str]:
    traits = {"stride variant": network.variant, "stem": network.stem}
    return [f"{trait} {value}" for trait, value in traits.items() if value]


def _triple(values: tuple[float, float, float]) -> str:
    return ", ".join(f"{value:.3f}" for value in values)
