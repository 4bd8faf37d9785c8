"""`python -m bench.report`: draws the plots of docs/benchmarks from the figures in bench/results."""

import argparse
import sys
from pathlib import Path

from bench.report import page
from bench.running import ROOT

RESULTS, FOLDER = ROOT / "bench" / "results", ROOT / "docs" / "benchmarks"


def main() -> None:
    """Exit codes: 0 drawn, 1 a result cannot be read or the folder cannot be written."""
    parser = argparse.ArgumentParser(prog="python -m bench.report", description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder with the figures")
    parser.add_argument("--to", type=Path, default=FOLDER, help="folder for the page and its plots")
    options = parser.parse_args()
    try:
        write(page.files(options.results), options.to)
    except (OSError, ValueError) as error:
        print(f"bench.report: {error}", file=sys.stderr)
        sys.exit(1)
    print(options.to / page.PAGE)


def write(files: dict[str, str], folder: Path) -> None:
    """Write the files, and remove plots that are not drawn any more. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.svg"):
        if old.name not in files:
            old.unlink()
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
