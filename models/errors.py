"""What can be wrong with a checkpoint."""


class CheckpointError(Exception):
    """The checkpoint cannot be used as it is; the message is one sentence that names the fault and the cure."""
