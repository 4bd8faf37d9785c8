"""What can be wrong with a plan."""


class PlanError(Exception):
    """A plan cannot be made, kept, read or run; the message is one sentence that names the fault and the cure."""
