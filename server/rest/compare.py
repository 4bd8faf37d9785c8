"""CompareRoute: `GET /models/{name}/compare`."""

from dataclasses import asdict

from fastapi import FastAPI
from fastapi.responses import Response

from server.comparing.comparisons import Comparisons
from server.rest.answers import JsonAnswer
from server.rest.contract.comparison import Comparison
from server.rest.docs import operations


class CompareRoute:
    """Runs on the event loop."""

    def __init__(self, comparisons: Comparisons) -> None:
        self._comparisons = comparisons

    def add_routes(self, app: FastAPI) -> None:
        app.add_api_route("/models/{name}/compare", self.compare, **operations.COMPARE)

    async def compare(self, name: str) -> Response:
        """What versions of an alias answer on live photos: on how many a shadow agrees, and how a canary differs."""
        return JsonAnswer(Comparison.model_validate(asdict(await self._comparisons.of(name))))
