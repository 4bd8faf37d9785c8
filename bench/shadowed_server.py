"""`python -m bench.shadowed_server`: a server whose shadow is `bench.slow_shadow`; its own engine is real, or fast."""

import os
import sys

from bench.fast_engine import choose_fast
from server.__main__ import main
from server.settings import Settings
from server.shadow.shadow_process import ShadowProcess
from server.startup.compose import Parts, compose

FAST = "BENCH_SHADOW_FAST"
"""The variable that is set where the server's own engine shall take no time."""


def _compose(settings: Settings) -> Parts:
    parts = compose(settings, choose_fast if os.environ.get(FAST) else None)
    command = (sys.executable, "-m", "bench.slow_shadow")
    parts.comparisons.live.shadows.process = ShadowProcess(settings.engine_limit_s, command)
    return parts


if __name__ == "__main__":
    main(_compose)
