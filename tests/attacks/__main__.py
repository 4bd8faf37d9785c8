"""`python -m tests.attacks`: tries every attack on a real server, and prints what each did."""

import argparse
import contextlib
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence

from tests.attacks import verdict
from tests.attacks.attack import Attack
from tests.attacks.leaving import left
from tests.attacks.server import ServerFailed
from tests.attacks.table import ATTACKS
from tests.attacks.trial import tried

_CONNECTIONS = 8192
_LONGEST_S = 25.0
_BUSY = "import os\nparent = os.getppid()\nwhile os.getppid() == parent:\n    sum(range(1_000_000))"


def main() -> int:
    """Exit codes: 0 none harmed, 1 one did, 2 usage."""
    options = _parser().parse_args()
    if options.list:
        print(*(f"{attack.name}: {', '.join(attack.faces)}" for attack in ATTACKS), "leaving", sep="\n")
        return 0
    for number in (signal.SIGINT, signal.SIGTERM):  # both as Ctrl-C, so that no process is left
        signal.signal(number, signal.default_int_handler)
    _allow_connections()
    with _busy_loop() if options.busy_loop else contextlib.nullcontext():
        harmed = [pair for pair in _chosen(options) if _harms(*pair, options)]
        leaves_badly = _wanted("leaving", options) and _leaves_badly(options)
    return 1 if harmed or leaves_badly else 0


def _wanted(name: str, options: argparse.Namespace) -> bool:
    return not options.only or any(part in name for part in options.only)


def _chosen(options: argparse.Namespace) -> list[tuple[Attack, str]]:
    print(verdict.line(verdict.HEADINGS), flush=True)
    return [
        (attack, face)
        for attack in ATTACKS
        for face in attack.faces
        if _wanted(attack.name, options) and options.face in (None, face)
    ]


def _harms(attack: Attack, face: str, options: argparse.Namespace) -> bool:
    try:
        trial = tried(attack, face, options.seconds, _settings(options.settings))
    except ServerFailed as error:
        print(f"{attack.name}: {error}", flush=True)
        return True
    print(verdict.line(verdict.row(trial)), flush=True)
    return bool(trial.harm())


def _leaves_badly(options: argparse.Namespace) -> bool:
    """Whether it left badly once; all times are told."""
    return sum(_left_badly(number, options) for number in range(1, options.repeats + 1)) > 0


def _left_badly(number: int, options: argparse.Namespace) -> bool:
    try:
        leaving = left(_settings(options.settings))
    except ServerFailed as error:
        print(f"leaving: {error}", flush=True)
        return True
    harm = "; ".join(leaving.complaints) or "none"
    print(f"leaving, {number} of {options.repeats}: {leaving.seconds:.2f} s; harm: {harm}", flush=True)
    return bool(leaving.complaints)


def _settings(pairs: Sequence[str]) -> list[str]:
    return [f"--{name.replace('_', '-')}={value}" for name, _, value in (pair.partition("=") for pair in pairs)]


def _allow_connections() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_CONNECTIONS if most < 0 else min(_CONNECTIONS, most), most))


@contextlib.contextmanager
def _busy_loop() -> Iterator[None]:
    """Somebody else's work: one core's worth of it, which ends with this process at the latest."""
    process = subprocess.Popen([sys.executable, "-c", _BUSY], start_new_session=True)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _seconds(text: str) -> float:
    if not 0 < (seconds := float(text)) <= _LONGEST_S:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most {_LONGEST_S:g}")
    return seconds


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.attacks", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="attacks whose name has one of these texts")
    parser.add_argument("--face", choices=("rest", "rpc"), help="one face instead of all")
    parser.add_argument("--seconds", type=_seconds, default=10.0, help="of each attack; default 10, at most 25")
    parser.add_argument("--settings", nargs="+", default=[], metavar="NAME=VALUE", help="of the server")
    parser.add_argument("--busy-loop", action="store_true", help="keep one core busy meanwhile")
    parser.add_argument("--repeats", type=int, default=20, help="times that the server is told to leave; default 20")
    parser.add_argument("--list", action="store_true", help="name the attacks and run none")
    return parser


if __name__ == "__main__":
    try:
        code = main()
    except KeyboardInterrupt:
        code = 130
    sys.stdout.flush()
    os._exit(code)  # gRPC's own threads are not waited for
