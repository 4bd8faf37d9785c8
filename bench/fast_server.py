"""`python -m bench.fast_server`: a server whose engine takes no time, so that all that is measured is the server."""

from bench.fast_engine import choose_fast
from server.__main__ import main
from server.startup.compose import compose

if __name__ == "__main__":
    main(lambda settings: compose(settings, choose_fast), "bench.fast_children")
