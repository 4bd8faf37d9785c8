"""`python -m bench.rtx`: which networks, in which precisions, NVIDIA's own parser and builder accept.

TensorRT for RTX has the parser and builder of the 11 line, and builds ahead of time, without a GPU or driver. What it
rejects, TensorRT rejects too. Its plans are not those of TensorRT, and it has no plugins in Python: functions of SE are
inlined. `make setup` puts its wheels beside the environment.
"""

import argparse
import datetime
import json
import sys
from pathlib import Path
from typing import Any

from tests.support.rtx_matrix import ALL, PRECISIONS, SIDE, SIDES, WHEELS, build_network


def main() -> None:
    """A table goes to standard output, all results to --json."""
    options = _parser().parse_args()
    if not WHEELS.is_dir():
        sys.exit(f"bench.rtx needs NVIDIA's wheels in {WHEELS}, and nothing was built: run `make setup`.")
    document: dict[str, Any] = {"made": datetime.date.today().isoformat(), "tensorrt-rtx": _version(), "networks": {}}
    print(f"{'':<40}" + "".join(f"{precision:>16}" for precision in PRECISIONS))
    for name in options.networks or ALL:
        rows = build_network(ALL[name], SIDES.get(name, SIDE))
        document["networks"][name] = rows
        print(f"{name:<40}" + "".join(f"{_summary(rows, precision):>16}" for precision in PRECISIONS), flush=True)
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    for name, rows in document["networks"].items():
        for row in rows:
            if not row["built"]:
                print(f"{name} {row['graph']}: {row['why']}")
    if not all(row["built"] for rows in document["networks"].values() for row in rows):
        sys.exit(1)


def _version() -> str:
    (found,) = WHEELS.glob("tensorrt_rtx_cu12_libs-*.dist-info")
    return found.name.removesuffix(".dist-info").partition("-")[2]


def _summary(rows: list[dict[str, Any]], precision: str) -> str:
    """How many of the ways were parsed and built."""
    mine = [row for row in rows if row["graph"].startswith(f"{precision} ")]
    return f"{sum(row['parsed'] for row in mine)} + {sum(row['built'] for row in mine)} of {len(mine)}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.rtx", description=__doc__)
    parser.add_argument("networks", nargs="*", choices=[[], *ALL], help="which (default: all)", metavar="NETWORK")
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "rtx.json")
    return parser


if __name__ == "__main__":
    main()
