"""CARD.md: what a person wants to know of a bundle before using it."""

from bundle.manifest import Architecture, Manifest, ParityRow

_INPUTS = {"generated": "generated images (noise, gradients, edges)", "photos": "photos"}
_UNTOLD = "What it was trained on, and how well it does, was not told at its export (`--notes FILE`)."


def card(manifest: Manifest, notes: str | None) -> str:
    """The card in Markdown. `notes` are the user's own words on training data, accuracy and licence."""
    network, labels, fit, source = manifest.architecture, manifest.labels, manifest.preprocessing, manifest.source
    parity = manifest.parity[0]
    size = f"{fit.height}x{fit.width}"
    squash = f"squashed to {fit.resize_to}x{fit.resize_to}"
    resize = f"shorter side to {fit.resize_to}" if fit.resize == "short_side" else squash
    facts = {
        "architecture": ", ".join((network.name, *_traits(network), f"{len(network.se_blocks)} SE blocks")),
        "size": f"{network.parameters / 1e6:.2f} M parameters, {network.macs / 1e9:.3f} G multiply-adds an image",
        "labels": f"{labels.classes} classes, {labels.set}",
        "preprocessing": f"upright, RGB, {resize} ({fit.interpolation}), centre {size}; "
        f"mean {_triple(fit.mean)} and std {_triple(fit.std)} of 0..255",
        "source": f"{source.file}, {source.format} names, {source.taken}, sha256 {source.sha256}",
        "parity": f"{parity.engine} {parity.precision} beside the torch network on {parity.images} "
        f"{_INPUTS[parity.inputs]}: max Δp {parity.max_dp:.1e}, max Δ log p {parity.max_dlogp:.1e} over the top ten, "
        f"top-1 equal {parity.top1_agreement:.1%}, top-5 equal {parity.top5_agreement:.1%}",
    }
    facts |= {f"{row.precision} in {row.engine}": _cost(row) for row in manifest.parity[1:]}
    table = "\n".join(f"| {what} | {fact} |" for what, fact in facts.items())
    return f"# {manifest.name}\n\n{notes.strip() if notes else _UNTOLD}\n\n## Facts\n\n| | |\n|---|---|\n{table}\n"


def _cost(row: ParityRow) -> str:
    """What a lower precision costs."""
    told = f"best class kept for {row.sure_agreement:.1%} of {row.sure_images} photos that the torch network is sure of"
    if row.accuracy is None or row.accuracy_fp32 is None:
        return told
    return f"{told}; top-1 {row.accuracy:.1%} instead of {row.accuracy_fp32:.1%} on {row.labelled} photos"


def _traits(network: Architecture) -> list[str]:
    traits = {"stride variant": network.variant, "stem": network.stem}
    return [f"{trait} {value}" for trait, value in traits.items() if value]


def _triple(values: tuple[float, float, float]) -> str:
    return ", ".join(f"{value:.3f}" for value in values)
