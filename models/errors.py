"""What can be wrong with a checkpoint."""


class CheckpointError(Exception):
    """The checkpoint cannot be used as it is. The message is one sentence: the fault, and the cure."""


class TensorMissing(CheckpointError):
    """A tensor whose shape is needed is missing. `name` is the canonical name, which may differ from the file's own."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"Tensor '{name}' is missing: the file is incomplete, or holds another network. Give the whole checkpoint."
        )
        self.name = name
