"""Kubelet: asks a container's probes as Kubernetes does, and says what it would do."""

import http.client
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

_DEFAULTS = {"periodSeconds": 10, "timeoutSeconds": 1, "failureThreshold": 3, "successThreshold": 1}
"""What Kubernetes takes where a probe does not say it."""


@dataclass
class Probe:
    """One probe of a container. `failures` counts those in a row. `runs`: whether the container's process does."""

    path: str
    port: int
    period_s: float
    timeout_s: float
    failure_threshold: int
    runs: Callable[[], bool]
    failures: int = 0

    @classmethod
    def of(cls, container: Mapping[str, Any], kind: str, ports: Mapping[str, int], runs: Callable[[], bool]) -> "Probe":
        """`kind`, such as `readinessProbe`; `ports`: where the ports of the container are really, by name."""
        spec = {**_DEFAULTS, **container[kind]}
        asked = spec["httpGet"]
        seconds = float(spec["periodSeconds"]), float(spec["timeoutSeconds"])
        return cls(asked["path"], ports[str(asked["port"])], *seconds, int(spec["failureThreshold"]), runs)

    def ask(self) -> bool:
        """Ask once; a status from 200 to 399 within the timeout is a success."""
        succeeded = self._succeeds()
        self.failures = 0 if succeeded else self.failures + 1
        return succeeded

    @property
    def has_failed(self) -> bool:
        """So often in a row that Kubernetes acts: ends the container, or sends it no requests."""
        return self.failures >= self.failure_threshold

    def await_success(self) -> bool:
        """Ask once in each period. Returns False where it has failed as often as it may, or the process has ended."""
        ticks = threading.Event()
        while not self.has_failed and self.runs():
            began_s = time.monotonic()
            if self.ask():
                return True
            ticks.wait(max(0.0, began_s + self.period_s - time.monotonic()))
        return False

    def _succeeds(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.timeout_s)
        try:
            connection.request("GET", self.path)
            return 200 <= connection.getresponse().status < 400
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
