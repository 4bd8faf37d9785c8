"""Overhead: one replica of Ray Serve beside `python -m server`, with the same threads, engine and photos, in turns."""

import dataclasses
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import wrk
from bench.ray_serve.cluster import ENGINE, REPOSITORY, cluster
from bench.running import running

_CONNECTIONS = (1, 32)
_THREADS = 2
_WARM_S = 2
_MEDIANS = ("requests_per_s", "p50_ms", "p99_ms", "server_cpu_ms_per_request", "others_cpu_share")


def measure(photos: Sequence[Path], rounds: int, seconds: int) -> dict[str, Any]:
    """Each server is alone while it is measured. Raises ServerFailed and LoadFailed."""
    rows: list[dict[str, Any]] = []
    threads = {"engine_threads": _THREADS, "decode_threads": _THREADS, "log_level": "warning"}
    options = [f"--{name.replace('_', '-')}={value}" for name, value in {**ENGINE, **threads}.items()]
    one = {"autoscaling_config": None, "num_replicas": 1, "logging_config": {"enable_access_log": False}}
    for number in range(rounds):
        with running(REPOSITORY, options=["--fronts=0", *options, "--log-level=info"]) as bare:
            rows += _loads("bare", number, bare, photos, seconds)
        with cluster(photos[0], {**one, "ray_actor_options": {"num_cpus": _THREADS}}, threads) as ray:
            rows += _loads("ray", number, ray, photos, seconds)
    return {"threads": _THREADS, "rounds": rounds, "seconds": seconds, "medians": _medians(rows), "rows": rows}


def _loads(label: str, number: int, server: wrk.Loaded, photos: Sequence[Path], seconds: int) -> list[dict[str, Any]]:
    rows = []
    for connections in _CONNECTIONS:
        wrk.measure(server, photos, connections, _WARM_S)
        load = wrk.load(server, photos, connections, seconds)
        rows.append(
            {
                "server": label,
                "round": number,
                **dataclasses.asdict(load),
                "server_cpu_ms_per_request": load.server_cpu_s / load.images * 1e3,
                "others_cpu_share": load.others_cpu_s / load.seconds,
            }
        )
    return rows


def _medians(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for connections in _CONNECTIONS:
        for label in ("bare", "ray"):
            those = [row for row in rows if (row["server"], row["connections"]) == (label, connections)]
            medians = {name: round(statistics.median(row[name] for row in those), 3) for name in _MEDIANS}
            found.append({"server": label, "connections": connections, **medians})
    return found
