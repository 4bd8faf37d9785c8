"""What can stop an export besides the checkpoint itself."""


class ExportError(Exception):
    """The export cannot go on; the message is one sentence that names the fault and the cure."""
