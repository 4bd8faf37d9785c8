"""RestFace: the routes. Translates requests into calls of the service, and its answers into JSON. Decides nothing."""

import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.types import ASGIApp

from server.comparing.comparisons import Comparisons
from server.explaining.explainer import Explainer
from server.health import Health
from server.journal import Journal
from server.keys.access import Access
from server.lifecycle import Phase
from server.metrics import Metrics
from server.openinference.open_inference import OpenInference
from server.page.site import Site
from server.receiving import ReceiveBudget
from server.registry.allowed import seen_by
from server.registry.catalogue import Catalogue
from server.rest.admin import AdminFace
from server.rest.answers import JsonAnswer, aliases, model_description, model_state
from server.rest.classify import ClassifyRoute
from server.rest.compare import CompareRoute
from server.rest.contract import models as m
from server.rest.cors import Cors
from server.rest.docs import operations
from server.rest.docs.app import DocumentedApp
from server.rest.docs.page import docs_page
from server.rest.envelope import Envelope, exchange_of
from server.rest.error_handlers import ErrorHandlers
from server.rest.explain import ExplainRoute
from server.rest.forwarded import Forwarded
from server.rest.head import HeadAsGet
from server.rest.intake import Intake
from server.rest.key_check import KeyCheck
from server.rest.openinference.answers import InferenceError
from server.rest.openinference.app import PREFIX, OpenInferenceApp
from server.rest.openinference.infer import InferRoute
from server.rest.problems import ProblemResponse
from server.rest.reach import Reach
from server.rest.receiver import BodyReceiver
from server.rest.shortcut import Shortcut, Under
from server.scheduling.threads import Threads
from server.service import Classifier

_METRICS_LINK = b' <a href="metrics">Metrics</a>'
"""In the page at `/`, which cannot lead to another port."""


class RestFace:
    """One ASGI application over the service. `app` is what the HTTP server runs, all of it on the event loop."""

    def __init__(
        self,
        classifier: Classifier,
        catalogue: Catalogue,
        health: Health,
        metrics: Metrics,
        budget: ReceiveBudget,
        aside: Threads,
        version: str,
        admin: AdminFace | None,
        exposition: Callable[[], Awaitable[bytes]],
        open_inference: OpenInference,
        explainer: Explainer | None,
        reach: Reach,
        journal: Journal,
        comparisons: Comparisons,
        access: Access | None = None,
        metrics_need_key: bool = True,
    ) -> None:
        """`access`: who may ask; None: everybody. `aside` parses large bodies and writes large answers. Without `admin`
        there are no `/admin` routes, without `explainer` no `/explain`. `exposition`: the metrics as text.
        """
        self.admin_app: ASGIApp | None = None
        """What the admin port serves, where there is one."""
        self._catalogue = catalogue
        self._health = health
        self._exposition = exposition
        face_metrics = metrics.face("rest")
        errors = ErrorHandlers(classifier, face_metrics, ProblemResponse)
        self._receiver = BodyReceiver(classifier)
        intake = Intake(classifier.limits, face_metrics, budget, self._receiver, aside, errors)
        self._classify = ClassifyRoute(classifier, intake)
        protocol_errors = ErrorHandlers(classifier, face_metrics, InferenceError)
        infer = InferRoute(open_inference.inference, dataclasses.replace(intake, errors=protocol_errors))
        v2 = OpenInferenceApp(open_inference, infer, protocol_errors)
        need_key = access is not None
        app = DocumentedApp(version, reach.root_path, need_key)
        self._add_routes(app, operations.classify(classifier.limits.max_timeout_s))
        CompareRoute(comparisons).add_routes(app)
        Site(_METRICS_LINK if reach.admin_apart else b"").add_routes(app)
        for_operators = DocumentedApp(version, need_key=need_key) if reach.admin_apart else app
        for_operators.add_api_route("/metrics", self.read_metrics, **operations.METRICS)
        if admin:
            admin.add_routes(for_operators)
        if reach.admin_apart:
            self._add_health(for_operators)
            errors.install(for_operators)
            operated: ASGIApp = HeadAsGet(for_operators)
            if access:
                operated = KeyCheck(access, metrics_need_key, errors, protocol_errors, operated)
            self.admin_app = Envelope(operated, journal)
        errors.install(app)
        others: ASGIApp = HeadAsGet(app)
        if explainer:
            explain = ExplainRoute(explainer, intake)
            operation = operations.explain(classifier.limits.max_timeout_s)
            app.add_api_route("/explain", explain.explain, methods=["POST"], **operation)
            others = Shortcut("POST", "/explain", explain, others)
        routes: ASGIApp = Shortcut("POST", "/classify", self._classify, Under(PREFIX, v2, others))
        if access:
            routes = KeyCheck(access, metrics_need_key, errors, protocol_errors, routes)
        if reach.cors_origins:
            routes = Cors(routes, reach.cors_origins)
        self.app: ASGIApp = Envelope(routes, journal)
        if reach.proxies:
            self.app = Forwarded(self.app, reach.proxies)

    def _add_routes(self, app: DocumentedApp, classify: dict[str, Any]) -> None:
        app.add_api_route("/classify", self._classify.classify, methods=["POST"], **classify)
        app.add_api_route("/models", self.list_models, **operations.MODELS)
        app.add_api_route("/models/{name}", self.list_versions, **operations.MODEL)
        app.add_api_route("/models/{name}/labels", self.list_labels, **operations.LABELS)
        app.add_api_route("/models/{name}/ready", self.is_model_ready, **operations.MODEL_READY)
        self._add_health(app)

    def _add_health(self, app: DocumentedApp) -> None:
        app.add_api_route("/livez", self.is_live, **operations.LIVE)
        app.add_api_route("/readyz", self.is_ready, **operations.READY)
        app.add_api_route("/docs", docs_page, include_in_schema=False)

    def end_receiving(self) -> None:
        """Reject the bodies that are still being received, because the server drains."""
        self._receiver.end_receiving()

    async def list_models(self, request: Request) -> Response:
        """Every model version with its state, input, engine and parity, and all aliases."""
        seen = self._seen(request)
        models = [model_description(entry) for entry in seen.entries()]
        return JsonAnswer(m.ModelList(models=models, aliases=aliases(seen)))

    async def list_versions(self, request: Request, name: str) -> Response:
        """The versions of one model. An alias is not accepted here."""
        entries = self._seen(request).versions(name)
        return JsonAnswer(m.ModelVersions(models=[model_description(entry) for entry in entries]))

    async def list_labels(self, request: Request, name: str, version: str = "") -> Response:
        """The labels of a model version, in the order of the network's outputs. `name` may be an alias."""
        bundle = self._seen(request).pick(name, version).loaded.bundle
        rows = [m.LabelRow(index=i, id=label.id, label=label.name) for i, label in enumerate(bundle.labels)]
        return JsonAnswer(m.ModelLabelList(model=bundle.manifest.name, version=bundle.manifest.version, labels=rows))

    async def is_model_ready(self, request: Request, name: str, version: str = "") -> Response:
        """Whether requests for this model or alias should be sent to this server."""
        entries = self._seen(request).resolve(name, version)
        ready = self._health.ready_for(entries)
        answer = m.ModelReadiness(ready=ready, models=[model_state(entry) for entry in entries])
        return JsonAnswer(answer, 200 if ready else 503)

    def _seen(self, request: Request) -> Catalogue:
        """What the key of a request may see."""
        return seen_by(self._catalogue, exchange_of(request.scope).key)

    async def is_live(self) -> Response:
        """Whether the process works. If not, it must be started again."""
        return JsonAnswer(m.Liveness(live=self._health.alive), 200 if self._health.alive else 500)

    async def is_ready(self) -> Response:
        """Whether new requests should be sent to this server."""
        models = [model_state(entry) for entry in self._catalogue.entries()]
        answer = m.Readiness(phase=Phase(self._health.phase), models=models)
        return JsonAnswer(answer, 200 if self._health.ready else 503)

    async def read_metrics(self) -> Response:
        """Metrics in the text format of Prometheus."""
        return Response(await self._exposition(), media_type=CONTENT_TYPE_LATEST)
