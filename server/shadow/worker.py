"""Worker: computes pictures of the shadow one after the other, in a process of its own."""

import logging
import time
from typing import BinaryIO

import numpy as np

from bundle.errors import BundleError
from server.engines.engine import EngineFailed, run_checked
from server.shadow.engine import Network, OpenNetwork, open_network
from server.shadow.wire import LENGTH, Compute, Computed, Failure, Job, Open, Opened, Reply, described, frame, job

log = logging.getLogger(__name__)


class Worker:
    """Holds the version that is open."""

    def __init__(self, open_network: OpenNetwork = open_network) -> None:
        self._open_network = open_network
        self._network: Network | None = None

    def work(self, jobs: BinaryIO, replies: BinaryIO) -> None:
        """Reply to one job after the other, until the server closes the pipe or ends."""
        while len(length := jobs.read(LENGTH.size)) == LENGTH.size:
            replies.write(frame(self._reply(job(jobs.read(LENGTH.unpack(length)[0])))))
            replies.flush()

    def _reply(self, wanted: Job) -> Reply:
        try:
            return self._open(wanted) if isinstance(wanted, Open) else self._compute(wanted)
        except (BundleError, EngineFailed) as error:
            return Failure(str(error))
        except Exception:
            log.exception("the shadow failed")
            return Failure("its engine failed: see the log")

    def _open(self, wanted: Open) -> Opened:
        self._network = None  # its memory goes first
        network = self._network = self._open_network(wanted.folder, wanted.engine, wanted.precision)
        labels = [label.id for label in network.bundle.labels]
        prepared = described(network.bundle.manifest.preprocessing)
        return Opened(labels, prepared, network.engine.name, network.engine.precision)

    def _compute(self, wanted: Compute) -> Computed:
        assert self._network, "the server opens a version first. This is a bug."
        pixels = np.frombuffer(wanted.picture, np.uint8).reshape(1, wanted.height, wanted.width, 3)
        began_s = time.monotonic()
        rows = run_checked(self._network.engine, pixels, len(self._network.bundle.labels))
        return Computed(rows[0].tobytes(), time.monotonic() - began_s)
