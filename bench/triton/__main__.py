"""`python -m bench.triton`: NVIDIA's perf_analyzer on Sesame, and on Sesame and NVIDIA's Triton with the same graph."""

import argparse
import dataclasses
import datetime
import json
import re
import signal
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import httpx

from bench import data, seresnet50
from bench.photos import NoPhotos, jpegs
from bench.running import ServerFailed
from bench.triton import rounds, table, tools
from bench.triton.payload import Disagrees
from bench.triton.perf import PerfFailed
from server.host import cores

_TRITON = "Triton 2.51.0 with its Python backend"
_INTERRUPTED, _TERMINATED = 130, 143


def main() -> None:
    """Exit codes: 0 measured, 1 a server failed or answered wrongly, 2 usage or something missing, 130, 143 ended."""
    options = _parser().parse_args()
    if options.table:
        print(table.markdown(json.loads(options.table.read_text(encoding="utf-8"))))
        return
    if options.quick:
        options.rounds, options.window_ms, options.networks = 1, 500, ["demo"]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))
    document: dict[str, Any] = {}
    try:
        for document in _documents(options):
            if options.json:
                options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    except (NoPhotos, tools.NoTools, seresnet50.ExportFailed) as error:
        _leave(str(error), 2)
    except (ServerFailed, Disagrees, PerfFailed, httpx.HTTPError) as error:
        _leave(str(error), 1)
    except KeyboardInterrupt:
        _leave("interrupted", _INTERRUPTED)
    print(table.markdown(document))


def _documents(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """What goes to --json, anew after each server: what has been measured is not lost with what fails."""
    tools.perf_analyzer()
    photos = jpegs(options.photos)
    cpu = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    points: list[dict[str, Any]] = []
    side_by_side: list[dict[str, Any]] = []
    document = {
        "made": datetime.date.today().isoformat(),
        "command": " ".join(["python -m bench.triton", *sys.argv[1:]]),
        "cpu": cpu[1] if cpu else "unknown",
        "cores": cores.usable(),
        "rounds": options.rounds,
        "versions": ", ".join([f"Sesame {version('sesame')}", _TRITON, f"ONNX Runtime {version('onnxruntime')}"]),
        "points": points,
        "side_by_side": side_by_side,
    }
    with tempfile.TemporaryDirectory(prefix="sesame-bench-") as name:
        bundles = [rounds.bundle(network, Path(name)) for network in options.networks]
        for number in range(options.rounds):
            for bundle in bundles:
                for row in rounds.side_by_side(bundle, photos, number, options.window_ms, Path(name)):
                    side_by_side.append(row)
                    yield document
            points += map(dataclasses.asdict, rounds.alone(photos, options.window_ms, Path(name)))
            yield document


def _leave(message: str, code: int) -> NoReturn:
    print(f"bench.triton: {message}", file=sys.stderr)
    sys.exit(code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.triton", description=__doc__)
    known = ["demo", seresnet50.NAME]
    parser.add_argument("--networks", nargs="*", choices=known, default=known, help="side by side; default: all")
    parser.add_argument("--photos", type=Path, default=data.PHOTOS, help="folder of JPEG files")
    parser.add_argument("--rounds", type=int, default=3, help="medians are over so many; default 3")
    parser.add_argument("--window-ms", type=int, default=2000, help="of three windows a point; default 2000")
    parser.add_argument("--quick", action="store_true", help="one round of short windows with the demo, as a look")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all figures of all rounds there too")
    parser.add_argument("--table", type=Path, metavar="PATH", help="measure nothing, print the table of such a file")
    return parser


if __name__ == "__main__":
    main()
