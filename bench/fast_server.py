"""`python -m bench.fast_server`: a server whose engine takes no time, so that all that is measured is the server."""

import numpy as np

from bundle.files import Bundle
from bundle.images import Pixels
from bundle.predictions import Probabilities
from server.__main__ import main
from server.compose import compose
from server.engines.choice import Choice


class FastEngine:
    """Knows the bundle's probe by heart, as it must to be let in, and answers everything else with its first row."""

    name, precision = "fast", "fp32"

    def __init__(self, bundle: Bundle) -> None:
        probe = bundle.probe
        self._known = {image.tobytes(): row for image, row in zip(probe.pixels, probe.probabilities, strict=True)}
        self._row = probe.probabilities[0]

    def run(self, pixels: Pixels) -> Probabilities:
        return np.stack([self._known.get(image.tobytes(), self._row) for image in pixels])


if __name__ == "__main__":
    main(lambda settings: compose(settings, lambda bundle: Choice(FastEngine(bundle), "it takes no time")))
