"""Sheet: what a detector has to know of a backbone in ONNX, as the file's metadata and for people."""

from dataclasses import dataclass

from models.evaluation import Triple


@dataclass(frozen=True)
class MapRow:
    """One map: its output's name, its channels, and the pixels of the image from one of its places to the next."""

    output: str
    channels: int
    stride: int

    @property
    def usual_stride(self) -> int:
        """That of a network for ImageNet: 4 for c2, 32 for c5."""
        return 1 << int(self.output.removeprefix("c"))


@dataclass(frozen=True)
class Sheet:
    """The network, the checkpoint it was read from, its normalisation (RGB, on the scale 0..255), and its maps."""

    network: str
    checkpoint_sha256: str
    mean: Triple
    std: Triple
    maps: tuple[MapRow, ...]

    def metadata(self) -> dict[str, str]:
        """The `metadata_props` of the ONNX file."""
        return {
            "network": self.network,
            "checkpoint_sha256": self.checkpoint_sha256,
            "channel_order": "RGB",
            **self.normalisation(),
            "strides": ",".join(f"{row.output}={row.stride}" for row in self.maps),
        }

    def normalisation(self) -> dict[str, str]:
        """Mean and std of each channel, for detectors whose pixels are 0..255 and for those whose are 0..1."""
        return {
            f"{name}_0_{largest}": ",".join(f"{value * largest / 255:.7g}" for value in values)
            for largest in (255, 1)
            for name, values in (("mean", self.mean), ("std", self.std))
        }

    def table(self) -> str:
        """One fact a line."""
        lines = [f"{self.network}: images (n, 3, height, width) float32, RGB, each channel (pixel - mean) / std"]
        lines += [f"  {name:<12} {values}" for name, values in self.normalisation().items()]
        lines += [f"  {row.output:<12} {row.channels} channels, stride {row.stride}" for row in self.maps]
        return "\n".join(lines)

    def warning(self) -> str | None:
        """What to tell the detector where a stride is not the usual one of its stage."""
        unusual = [f"{row.output} {row.stride} (not {row.usual_stride})" for row in self.maps if _is_unusual(row)]
        if not unusual:
            return None
        return f"Strides differ from those of a network for ImageNet: {', '.join(unusual)}. Tell the detector so."


def _is_unusual(row: MapRow) -> bool:
    return row.stride != row.usual_stride
