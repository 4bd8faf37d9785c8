"""The error of plans."""


class PlanError(Exception):
    """A plan cannot be built, stored, read or run. The message names the fault and its cure."""
