"""`python -m bench.peers`: Sesame beside other servers, on the same graphs, photos and threads, in turns."""

import argparse
import dataclasses
import datetime
import json
import re
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

from bench import data, wrk
from bench.peers import environments, networks, rounds, table
from bench.peers.bodies import Disagrees
from bench.peers.catalogue import PEERS
from bench.peers.rounds import Server
from bench.photos import NoPhotos, jpegs
from bench.running import ServerFailed
from server.host import cores

_PHOTOS, _QUICK_PHOTOS = 100, 30
_INTERRUPTED, _TERMINATED = 130, 143


def main() -> None:
    """Exit codes: 0 measured, 1 a server failed or answered wrongly, 2 usage or something missing, 130, 143 ended."""
    options = _parser().parse_args()
    if options.table:
        print(table.markdown(json.loads(options.table.read_text(encoding="utf-8"))))
        return
    if options.quick:
        options.rounds, options.seconds = 1, 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))
    document: dict[str, Any] = {}
    try:
        for document in _documents(options):
            if options.json:
                options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    except (wrk.NoWrk, NoPhotos, networks.NoWeights, environments.NoEnvironment) as error:
        _leave(str(error), 2)
    except (ServerFailed, Disagrees, wrk.LoadFailed) as error:
        _leave(str(error), 1)
    except KeyboardInterrupt:
        _leave("interrupted", _INTERRUPTED)
    print(table.markdown(document))


def _documents(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """What goes to --json, anew after each turn: an hour's figures are not lost with the last."""
    wrk.program()
    photos = _spread(jpegs(options.photos), _QUICK_PHOTOS if options.quick else _PHOTOS)
    packages = {peer.package: environments.packages(peer) for peer in PEERS if peer.package in options.peers}
    cpu = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    turns: list[dict[str, Any]] = []
    document = {
        "made": datetime.date.today().isoformat(),
        "command": " ".join(["python -m bench.peers", *sys.argv[1:]]),
        "cpu": cpu[1] if cpu else "unknown",
        "cores": cores.usable(),
        "photos": len(photos),
        "rounds": options.rounds,
        "packages": packages,
        "turns": turns,
    }
    with tempfile.TemporaryDirectory(prefix="sesame-bench-") as folder:
        bundles = [networks.NETWORKS[name](Path(folder), photos) for name in options.networks]
        servers = _servers(packages, options.workers)
        for turn in rounds.turns(servers, bundles, photos, options.rounds, options.seconds):
            turns.append(dataclasses.asdict(turn))
            yield document


def _servers(packages: Mapping[str, Mapping[str, str]], workers: Sequence[int]) -> list[Server]:
    """Sesame, and every peer with each number of workers."""
    found = [Server(f"Sesame {version('sesame')}")]
    for peer in [peer for peer in PEERS if peer.package in packages]:
        label = f"{peer.name} {packages[peer.package][peer.package]}"
        found += [Server(f"{label}, {count} worker{'s' * (count > 1)}", peer, count) for count in workers]
    return found


def _spread(photos: Sequence[Path], most: int) -> list[Path]:
    """At most so many, from all over the folder: its neighbours by name are alike."""
    return list(photos[:: -(-len(photos) // most)])


def _leave(message: str, code: int) -> NoReturn:
    print(f"bench.peers: {message}", file=sys.stderr)
    sys.exit(code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    known, workers = [peer.package for peer in PEERS], sorted({1, cores.usable()})
    parser.add_argument("--peers", nargs="*", choices=known, default=known, help="default: all")
    parser.add_argument("--workers", nargs="+", type=int, default=workers, metavar="N",
        help="processes of a peer that run the network and share the cores; default: 1, and one a core")  # fmt: skip
    parser.add_argument("--networks", nargs="+", choices=[*networks.NETWORKS], default=[*networks.NETWORKS])
    parser.add_argument("--photos", type=Path, default=data.PHOTOS, help="folder of the JPEG files to send in turn")
    parser.add_argument("--rounds", type=int, default=3, help="medians are over so many; default 3")
    parser.add_argument("--seconds", type=int, default=10, help="of each load point; default 10")
    parser.add_argument("--quick", action="store_true", help="one round of 2 s a point over fewer photos, as a look")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all figures of all rounds there too")
    parser.add_argument("--table", type=Path, metavar="PATH", help="measure nothing, print the table of such a file")
    return parser


if __name__ == "__main__":
    main()
