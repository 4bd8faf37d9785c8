"""What can be wrong with a checkpoint."""


class CheckpointError(Exception):
    """The checkpoint cannot be used as it is; the message is one sentence that names the fault and the cure."""


class TensorMissing(CheckpointError):
    """A tensor that tells a width is not there. `name` is canonical; who knows the file's format can say its own."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Tensor '{name}' is missing: the file is incomplete or of another network.")
        self.name = name
