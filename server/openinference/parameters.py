"""Parameters: what clients put beside a request and its tensors. Unknown ones are ignored, as Triton does."""

from collections.abc import Mapping

from server.errors import Code, ServingError
from server.openinference.request import PROBABILITIES, RegionPart, WantedOutput
from server.scheduling.fair_queue import Priority

Parameters = Mapping[str, object]

_MOST = 1 << 62


def priority(parameters: Parameters) -> Priority:
    """Triton's number, of which 1 is the most urgent and 0 the default; here all above 1 are bulk. Or our own word."""
    given = parameters.get("priority", 0)
    if isinstance(given, str) and given in set(Priority):
        return Priority(given)
    return Priority.BULK if _number(parameters, "priority") > 1 else Priority.INTERACTIVE


def timeout_s(parameters: Parameters) -> float | None:
    """The parameter `timeout` is in microseconds; 0 is none."""
    return _number(parameters, "timeout") / 1e6 or None


def region_part(parameters: Parameters) -> RegionPart | None:
    """Where in shared memory a tensor is; None where it is in the message."""
    region = parameters.get("shared_memory_region")
    if region is None:
        return None
    if not isinstance(region, str):
        raise ServingError(Code.MALFORMED, "The parameter 'shared_memory_region' must be a string.")
    return RegionPart(
        region, _number(parameters, "shared_memory_offset"), _number(parameters, "shared_memory_byte_size")
    )


def wanted_output(outputs: Mapping[str, Parameters]) -> WantedOutput:
    """`outputs`: the parameters of each output that the client names, by its name; without any it gets all."""
    for name in outputs:
        if name != PROBABILITIES:
            raise ServingError(
                Code.MALFORMED, f"There is no output '{name[:64]}': the one output is '{PROBABILITIES}'."
            )
    parameters = outputs.get(PROBABILITIES, {})
    classes, region = _number(parameters, "classification"), region_part(parameters)
    if classes and region:
        raise ServingError(Code.MALFORMED, "Classes as text are not written to shared memory: ask for one of the two.")
    return WantedOutput(classes, region)


def flag(parameters: Parameters, name: str) -> bool:
    """A parameter that is true or false; false where it is not given."""
    value = parameters.get(name, False)
    if not isinstance(value, bool):
        raise ServingError(Code.MALFORMED, f"The parameter '{name}' must be true or false.")
    return value


def _number(parameters: Parameters, name: str) -> int:
    """A whole number from 0; 0 where it is not given."""
    value = parameters.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST:
        raise ServingError(Code.MALFORMED, f"The parameter '{name}' must be a whole number from 0.")
    return value
