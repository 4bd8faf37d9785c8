"""Comparison: what the versions of an alias answer on live photos."""

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from server.rest.contract.part import Part, not_always


class IntervalEstimate(Part):
    """A value, and the ends of its 95 % interval."""

    value: float
    low: float
    high: float


_ABSENT = "absent while too few photos were counted"


class ShadowComparison(Part):
    """Two versions on the same photos: one answered, the shadow computed a copy."""

    version: str = Field(description="the version that answered")
    shadow: str
    photos: int = Field(description="photos that both computed")
    passed_over: int = Field(description="photos that were answered while the shadow was busy or rested")
    failed: int = Field(description="photos on which the shadow failed")
    fault: str = Field(description="why the last photo could not be compared; may be empty")
    conclusion: str = Field(description="what can be concluded, in a sentence")
    top1_agreement: IntervalEstimate | SkipJsonSchema[None] = not_always(
        f"share of the photos with the same most probable class; Wilson's interval; {_ABSENT}"
    )
    top5_agreement: IntervalEstimate | SkipJsonSchema[None] = not_always(
        "share of the photos where the most probable class of each version is among the five of the other; Wilson's "
        f"interval; {_ABSENT}"
    )
    delta_log_p: IntervalEstimate | SkipJsonSchema[None] = not_always(
        f"mean of log p of the answer's class in the shadow minus that in the answer; normal interval; {_ABSENT}"
    )
    infer_ms: IntervalEstimate | SkipJsonSchema[None] = not_always(
        f"mean time in the engine of the answer, its whole batch; normal interval; {_ABSENT}"
    )
    shadow_infer_ms: IntervalEstimate | SkipJsonSchema[None] = not_always(
        "mean time in the engine of the shadow: one photo, on one core, behind all other work; normal interval; "
        f"{_ABSENT}"
    )


class VersionUsage(Part):
    """What one version answered to its callers. Times are from decoded pixels to the answer."""

    version: str
    weight: float = Field(description="per cent of the callers")
    images: int = Field(description="images that it was given")
    failures: IntervalEstimate | SkipJsonSchema[None] = not_always(
        f"share of engine_failed, internal and deadline among them and the answered; Wilson's interval; {_ABSENT}"
    )
    p50_ms: IntervalEstimate | SkipJsonSchema[None] = not_always(f"interval of the order statistics; {_ABSENT}")
    p95_ms: IntervalEstimate | SkipJsonSchema[None] = not_always(f"interval of the order statistics; {_ABSENT}")
    p99_ms: IntervalEstimate | SkipJsonSchema[None] = not_always(f"interval of the order statistics; {_ABSENT}")


class ClassShare(Part):
    """How often two versions name a class as the most probable one."""

    id: str
    label: str
    share: float = Field(description="among the answers of the version with most callers")
    other_share: float = Field(description="among the answers of the canary")
    difference: IntervalEstimate = Field(description="the canary's share minus the other; Newcombe's interval")
    clear: bool = Field(description="whether chance cannot explain it, though this is the largest of many differences")


class CanaryComparison(Part):
    """Two versions on the photos of their callers, which are not the same photos."""

    version: str = Field(description="the version with most callers")
    canary: str
    conclusion: str = Field(description="what can be concluded, in a sentence")
    failures: IntervalEstimate | SkipJsonSchema[None] = not_always(
        f"the canary's share of failures minus the other; Newcombe's interval; {_ABSENT}"
    )
    shifts: list[ClassShare] = Field(description="up to five classes, the clearest difference first")


class Comparison(Part):
    """What the versions of an alias have answered since it has these versions, in all processes."""

    alias: str
    model: str
    versions: list[VersionUsage] = Field(description="those that share the callers")
    canaries: list[CanaryComparison] = Field(description="each but the one with most callers, beside that one")
    shadows: list[ShadowComparison] = Field(description="the shadow, beside each version that answered")
