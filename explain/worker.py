"""Worker: computes explanations in a process of its own, one after the other.

So explanations never hold Python's lock or the memory of a process that serves, and the system lets that one go first.
"""

import logging
from collections import OrderedDict
from pathlib import Path
from typing import BinaryIO

from bundle import files
from bundle.errors import BundleError, ImageError
from explain.explainer import explain
from explain.network import ExplainedNetwork
from explain.wire import LENGTH, Failure, Job, Reply, frame, message

log = logging.getLogger(__name__)

_KEPT = 2
_THREADS = 1


class Networks:
    """The networks that were explained last, ready to run."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str], ExplainedNetwork] = OrderedDict()

    def get(self, folder: str, graph_sha256: str) -> ExplainedNetwork:
        """Raises BundleError where the bundle cannot be read, is another one by now, or names no inner tensors."""
        key = folder, graph_sha256
        if key not in self._kept:
            while len(self._kept) >= _KEPT:
                self._kept.popitem(last=False)
            self._kept[key] = _open(*key)
        self._kept.move_to_end(key)
        return self._kept[key]


def _open(folder: str, graph_sha256: str) -> ExplainedNetwork:
    bundle = files.read(Path(folder))
    if bundle.graph("fp32")[0].sha256 != graph_sha256:
        raise BundleError("The files of this version have changed since it was loaded: try again in a moment.")
    return ExplainedNetwork(bundle, _THREADS)


def work(jobs: BinaryIO, replies: BinaryIO) -> None:
    """Reply to one job after the other, until the server closes the pipe or ends."""
    networks = Networks()
    while len(length := jobs.read(LENGTH.size)) == LENGTH.size:
        job = message(jobs.read(LENGTH.unpack(length)[0]), Job)
        replies.write(frame(_reply(networks, job)))
        replies.flush()


def _reply(networks: Networks, job: Job) -> Reply:
    try:
        network = networks.get(job.folder, job.graph_sha256)
        return Reply(explain(network, job.photo, job.wanted, job.max_pixels, job.exact))
    except ImageError as error:
        return Reply(failure=Failure("photo", str(error), error.code))
    except BundleError as error:
        return Reply(failure=Failure("bundle", str(error)))
    except Exception:
        log.exception("an explanation failed")
        return Reply(failure=Failure("bug", "The explanation failed; the server's log has the details."))
