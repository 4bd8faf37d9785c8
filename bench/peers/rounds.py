"""Rounds: all servers in turns, each alone on the machine, checked against Sesame and then loaded."""

import itertools
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import wrk
from bench.peers import environments
from bench.peers.bodies import Bodies, agreement, forms
from bench.peers.catalogue import Peer
from bench.peers.starting import started
from bench.peers.table import CONNECTIONS, Turn
from bench.running import running
from bundle.files import Bundle

_TURNS = 4
"""A load lasts long enough for each connection to be answered so often, or few batches would make its rate."""

_SESAME = {"SESAME_ENGINE": "onnxruntime-cpu", "SESAME_PRECISION": "fp32", "SESAME_MAX_WAIT_MS": "60000"}
"""The engine of the others, and like them no rejection of requests that would wait for seconds."""


@dataclass(frozen=True)
class Server:
    """What one row of the table is about: Sesame, or a peer with so many processes that run the network."""

    label: str
    peer: Peer | None = None
    workers: int = 1


def turns(
    servers: Sequence[Server], bundles: Sequence[Bundle], photos: Sequence[Path], rounds: int, seconds: int
) -> Iterator[Turn]:
    """Each round begins with another server, the first one with the first of `servers`, which is Sesame.

    Raises ServerFailed, LoadFailed and Disagrees.
    """
    answers: dict[str, list[int]] = {}
    with tempfile.TemporaryDirectory(prefix="sesame-bench-") as folder:
        raw, form = Bodies(tuple(photos)), forms(photos, Path(folder))
        for number, bundle in itertools.product(range(rounds), bundles):
            first, network = number % len(servers), bundle.manifest.name
            for server in [*servers[first:], *servers[:first]]:
                print(f"round {number + 1} of {rounds}: {network}, {server.label}", file=sys.stderr, flush=True)
                bodies = form if server.peer and server.peer.multipart else raw
                with _serving(server, bundle, bodies) as ready:
                    began_s = time.monotonic()
                    found = bodies.best_classes(ready.url)
                    rate_per_s = len(found) / (time.monotonic() - began_s)
                    share = agreement(server.label, found, answers.setdefault(network, found))
                    loads = _loads(ready, bodies, seconds, rate_per_s)
                yield Turn(network, server.label, share, loads)


@contextmanager
def _serving(server: Server, bundle: Bundle, bodies: Bodies) -> Iterator[wrk.Loaded]:
    if server.peer is None:
        os.environ |= _SESAME
        with running(bundle.path.parent.parent) as sesame:
            yield sesame
    else:
        python = environments.python(server.peer)
        with started(server.peer, python, server.workers, bundle, bodies) as peer:
            yield peer


def _loads(server: wrk.Loaded, bodies: Bodies, seconds: int, rate_per_s: float) -> tuple[wrk.Load, ...]:
    """One for each of CONNECTIONS, each after a shorter one that is not counted. `rate_per_s`: roughly the server's."""
    found = []
    for connections in CONNECTIONS:
        least_s = _TURNS * connections / rate_per_s
        wrk.measure(server, bodies.paths, connections, math.ceil(least_s / 2), bodies.content_type)
        counted_s = max(seconds, math.ceil(least_s))
        found.append(wrk.measure(server, bodies.paths, connections, counted_s, bodies.content_type))
    return tuple(found)
