"""`python -m bench.fast_children`: the fronts and the core of `bench.fast_server --fronts N`."""

from bench.fast_engine import choose_fast
from server.startup.children import main

if __name__ == "__main__":
    main(choose_fast)
