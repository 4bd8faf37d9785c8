"""Arguments: what `python -m server classify` is told, and whether that can be done."""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from server import options
from server.host.exit_codes import USAGE_ERROR
from server.offline import photo_files
from server.offline.photo_files import PhotoFile
from server.settings import Settings, SettingsError

_SETTINGS = (
    "model_repository",
    "default_model",
    "engine",
    "precision",
    "cache_dir",
    "max_batch",
    "decode_threads",
    "engine_threads",
    "engine_limit_s",
    "exact_pixels",
    "max_image_bytes",
    "max_pixels",
    "decode_limit_s",
    "log_level",
)
"""The settings of the server that have an effect here."""


class UnusableArguments(Exception):
    """There is nothing to do as the arguments are. The message says why, and the cure."""


@dataclass(frozen=True)
class Arguments:
    """What is no setting of the server. `csv`: the file to write; None prints, as `json` says."""

    photos: Sequence[Path]
    model: str
    version: str
    top_k: int | None
    json: bool
    csv: Path | None

    def files(self) -> list[PhotoFile]:
        """The photos of all arguments. Raises UnusableArguments where there is none."""
        if not self.photos:
            raise UnusableArguments("Which photos? Give files or folders: python -m server classify photo.jpg photos/")
        files = photo_files.find(self.photos)
        if not files:
            folders = ", ".join(f"'{folder}'" for folder in self.photos)
            raise UnusableArguments(f"There is no photo in {folders}: give a folder with JPEG, PNG or WebP files.")
        return files

    def check_writable(self) -> None:
        """Raise UnusableArguments before an hour of work, not after it."""
        if self.csv is None:
            return
        folder = self.csv.parent
        if self.csv.is_dir():
            raise UnusableArguments(f"--csv {self.csv} is a folder: give a file.")
        if not folder.is_dir():
            raise UnusableArguments(f"--csv {self.csv}: there is no folder '{folder}': make it, or give another file.")
        if not os.access(folder, os.W_OK):
            raise UnusableArguments(f"--csv {self.csv}: '{folder}' cannot be written: give a file elsewhere.")


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[Arguments, Settings]:
    """Ends the process with a message where they cannot be understood, and for `--help`."""
    parser = _parser()
    given = vars(parser.parse_intermixed_args(arguments))
    own = Arguments(**{name: given.pop(name) for name in ("photos", "model", "version", "top_k", "json", "csv")})
    try:
        return own, options.read(given, {"SESAME_LOG_LEVEL": "warning", **environment})
    except SettingsError as error:
        parser.exit(USAGE_ERROR, f"server: {error}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m server classify",
        description="Classify photos without a running server, as POST /classify would.",
    )
    parser.add_argument("photos", nargs="*", type=Path, metavar="PHOTO", help="a photo, or a folder of photos")
    parser.add_argument("--model", default="", metavar="NAME", help="model or alias; needed where there are several")
    parser.add_argument("--version", default="", metavar="V", help="version of the model (default: the highest)")
    parser.add_argument("--top-k", type=int, metavar="K", help="classes of each photo (default: 5)")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print a JSON object a line")
    output.add_argument(
        "--csv", type=Path, metavar="FILE", help="write the predictions to this file, when all are done"
    )
    options.add_options(parser, _SETTINGS)
    return parser
