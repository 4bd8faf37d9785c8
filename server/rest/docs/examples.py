"""Examples: real requests, answers and errors for `/openapi.json`. The answers are those of the demo model."""

from typing import Any

from pydantic import BaseModel

from server.errors import Code, ServingError
from server.lifecycle import Phase
from server.registry.entry import State
from server.rest.contract import classification as c
from server.rest.contract import comparison as v
from server.rest.contract import explanation as e
from server.rest.contract import models as m
from server.rest.contract.requests import AliasRequest, PhotoInJson, PhotosInJson
from server.rest.problems import problem_document

_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mM4UaEBAAN0AWn1BwN7AAAAAElFTkSuQmCC"
"""A PNG of one pixel in base64."""

DETAILS: dict[Code, str] = {
    Code.MALFORMED: "top_k must be from 1 to 200, the number of classes.",
    Code.UNAUTHORIZED: "This is no valid key: send it as 'Authorization: Bearer …' or 'X-API-Key: …'.",
    Code.FORBIDDEN: "This key may not use the model 'demo': use one of those in /models.",
    Code.UNKNOWN_MODEL: "There is no model 'dmeo': there is demo.",
    Code.UNKNOWN_PATH: "There is nothing at this address: see /docs.",
    Code.METHOD_NOT_ALLOWED: "Use POST here.",
    Code.SLOW_BODY: "The body came too slowly: send it within the request's time.",
    Code.SLOW_HEADERS: "The headers came too slowly: send them within 10 s.",
    Code.HEADERS_TOO_LARGE: "The headers are too large: send at most 65536 bytes of them.",
    Code.CONFLICT: "The alias 'stable' stands for version 1: move it first.",
    Code.TOO_LARGE: "The body is too large: send at most 20971520 bytes.",
    Code.UNSUPPORTED_TYPE: "GIF is not an accepted image type: send JPEG, PNG or WebP.",
    Code.BAD_IMAGE: "The JPEG is truncated or corrupt: send the whole file.",
    Code.TOO_MANY_PIXELS: "The image has 60000000 pixels and 50000000 are allowed: send a smaller one.",
    Code.ANIMATED: "The PNG is animated: send one frame.",
    Code.DECODE_LIMIT: "Decoding the image took too long: save it again as an ordinary JPEG.",
    Code.NOT_EXPLAINABLE: "The bundle 'demo' names no inner tensors of its network: export it again, and load it.",
    Code.QUEUE_FULL: "Too many connections are open: try again in a moment.",
    Code.RATE_LIMITED: "This key may send 5 images a second, 10 at once: send more after 0.20 s.",
    Code.ENGINE_FAILED: "The engine failed on this batch: try again.",
    Code.INTERNAL: "The server made a mistake; its log has the details.",
    Code.NOT_READY: "The model 'demo' is still loading: try again in a moment.",
    Code.DRAINING: "This server is shutting down: send the request again.",
    Code.DEADLINE: "The answer would come after the deadline: allow more time.",
}
"""One `detail` of each error."""

_CLASSIFICATION = c.Classification(
    model="demo",
    version="1",
    predictions=[
        c.ClassPrediction(index=0, id="n01443537", label="goldfish", probability=0.9309),
        c.ClassPrediction(index=188, id="n07753592", label="banana", probability=0.0049),
    ],
    timing_ms=c.StageTimes(decode=0.362, queue=0.188, infer=2.679, total=3.702),
    batch=1,
)
_EXPLANATION = e.ExplainedPhoto(
    **{**dict(_CLASSIFICATION), "class": _CLASSIFICATION.predictions[0]},
    map=e.MapOfClass(
        rows=2,
        columns=2,
        values=[[3.1, 5.2], [8.4, 11.9]],
        region=e.SeenRegion(left=0.125, top=0.0, width=0.75, height=1.0),
    ),
    excitations=[
        e.BlockExcitation(
            block="layer1.0",
            channels=24,
            mean=0.4951,
            deviation=0.0604,
            quantiles=[0.3629, 0.4531, 0.5094, 0.5379, 0.589],
            strongest=[e.StrongChannel(channel=19, gate=0.589), e.StrongChannel(channel=17, gate=0.5716)],
        )
    ],
    explain_ms=9.1,
)
_UNSUPPORTED = problem_document(ServingError(Code.UNSUPPORTED_TYPE, DETAILS[Code.UNSUPPORTED_TYPE]))
_STATE = m.ModelState(model="demo", version="1", state=State.READY, reason="")
_DESCRIPTION = m.ModelDescription(
    **dict(_STATE),
    architecture="seresnet18",
    parameters=1_641_720,
    macs=90_102_528,
    labels=m.ModelLabels(set="tiny-imagenet-200", classes=200),
    input=m.ModelInput(height=64, width=64, resize="short_side", resize_to=64, interpolation="bilinear"),
    engine=m.ModelEngine(
        name="onnxruntime-cpu",
        precision="fp32",
        why="the fastest here, in images/s: onnxruntime-cpu fp32 2053",
        device="cpu",
        copies=1,
        batch=16,
    ),
    parity=m.ModelParity(images=32, max_dp=4.2e-07, max_dlogp=2.6e-06, top1_agreement=1.0, top5_agreement=1.0),
    proofs=[
        m.GraphProof(
            file="model.onnx",
            engine="onnxruntime-cpu",
            precision="fp32",
            images=32,
            inputs="generated",
            max_dp=5.7e-07,
            max_dlogp=2.5e-06,
            top1_agreement=1.0,
            top5_agreement=1.0,
            sure_images=15,
            sure_agreement=1.0,
        )
    ],
)
_COMPARISON = v.Comparison(
    alias="stable",
    model="demo",
    versions=[],
    canaries=[],
    shadows=[
        v.ShadowComparison(
            version="1",
            shadow="2",
            photos=812,
            passed_over=19_341,
            failed=0,
            fault="",
            conclusion="On 812 photos versions 1 and 2 name the same class for 97.4 % (96.1 to 98.3).",
            top1_agreement=v.IntervalEstimate(value=0.9741, low=0.9608, high=0.983),
            top5_agreement=v.IntervalEstimate(value=0.9988, low=0.9931, high=0.9998),
            delta_log_p=v.IntervalEstimate(value=-0.004, low=-0.0121, high=0.0041),
            infer_ms=v.IntervalEstimate(value=2.61, low=2.55, high=2.67),
            shadow_infer_ms=v.IntervalEstimate(value=4.1, low=3.92, high=4.28),
        )
    ],
)
_TARGET = m.AliasTarget(model="demo", version="1")
_LABELS = [
    m.LabelRow(index=0, id="n01443537", label="goldfish"),
    m.LabelRow(index=1, id="n01629819", label="European fire salamander"),
]

ANSWERS: dict[type[BaseModel], BaseModel] = {
    type(answer): answer
    for answer in (
        _CLASSIFICATION,
        c.Classifications(
            results=[
                _CLASSIFICATION,
                c.FailedPhoto(
                    error=c.PhotoProblem(status=_UNSUPPORTED.status, code=_UNSUPPORTED.code, detail=_UNSUPPORTED.detail)
                ),
            ]
        ),
        _EXPLANATION,
        _DESCRIPTION,
        m.ModelVersions(models=[_DESCRIPTION]),
        m.ModelList(models=[_DESCRIPTION], aliases={"stable": _TARGET}),
        m.ModelLabelList(model="demo", version="1", labels=_LABELS),
        m.AliasList(aliases={"stable": _TARGET}, kept=True),
        _COMPARISON,
        m.Liveness(live=True),
        m.Readiness(phase=Phase.SERVING, models=[_STATE]),
        m.ModelReadiness(ready=True, models=[_STATE]),
    )
}
"""One answer of each kind."""

_FAILED = m.ModelState(
    model="demo",
    version="1",
    state=State.FAILED,
    reason="model.onnx of the bundle 'demo/1' is not the file its manifest names (sha256 differs): copy or export the "
    "bundle again.",
)
NOT_READY = m.Readiness(phase=Phase.STARTING, models=[_FAILED])
MODEL_NOT_READY = m.ModelReadiness(ready=False, models=[_FAILED])

ONE_PHOTO = PhotoInJson(image=_PIXEL, model="demo", top_k=3)
SEVERAL_PHOTOS = PhotosInJson(images=[_PIXEL, _PIXEL])
ALIAS = AliasRequest(model="demo", version="1")


def shown(part: BaseModel) -> dict[str, Any]:
    """The JSON of an example."""
    return part.model_dump(mode="json", exclude_none=True)
