"""`python -m bench.ray_serve`: what is said of Sesame on Ray Serve, and what Ray costs, in turns with one server."""

import argparse
import datetime
import json
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

from bench import data, wrk
from bench.photos import NoPhotos, jpegs
from bench.ray_serve import claims, overhead
from bench.ray_serve.cluster import NoRay
from bench.running import ServerFailed
from server.host import cores

_PARTS = ("same_answers", "scaling", "death", "hanging", "overload", "overhead")


def main() -> None:
    """Exit codes: 0 all was seen and measured, 1 something said does not hold or a server failed, 2 usage, or something
    is missing.
    """
    options = _parser().parse_args()
    document: dict[str, Any] = {}
    if options.json and options.json.exists():
        document = json.loads(options.json.read_text(encoding="utf-8"))
    try:
        wrk.program()
        photos = jpegs(options.photos)[: options.count]
        for part in options.parts:
            print(part, file=sys.stderr, flush=True)
            document |= {"made": datetime.date.today().isoformat(), "cores": cores.usable(), "photos": len(photos)}
            document[part] = _measured(part, photos, options) | {"load_average": os.getloadavg()}
            if options.json:
                options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    except (NoRay, NoPhotos, wrk.NoWrk) as error:
        _leave(str(error), 2)
    except (ServerFailed, claims.Disagrees, wrk.LoadFailed) as error:
        _leave(str(error), 1)
    print(json.dumps(document, indent=1))


def _measured(part: str, photos: list[Path], options: argparse.Namespace) -> dict[str, Any]:
    if part == "overhead":
        return overhead.measure(photos, options.rounds, options.seconds)
    if part == "same_answers":
        return claims.same_answers(photos)
    claim = {"scaling": claims.scaling, "death": claims.death, "hanging": claims.hanging, "overload": claims.overload}[
        part
    ]
    return claim(photos[0])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.ray_serve", description=__doc__)
    parser.add_argument("--photos", type=Path, default=data.PHOTOS, help="folder of the JPEG files to send in turn")
    parser.add_argument("--count", type=int, default=20, help="so many of them")
    parser.add_argument("--rounds", type=int, default=3, help="turns of both servers")
    parser.add_argument("--seconds", type=int, default=5, help="length of each load")
    parser.add_argument("--parts", nargs="+", choices=_PARTS, default=_PARTS, help="default: all")
    parser.add_argument("--json", type=Path, help="write the figures there; parts that are not measured stay")
    return parser


def _leave(message: str, code: int) -> NoReturn:
    print(f"bench.ray_serve: {message}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
