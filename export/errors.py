"""The error that stops an export, except for faults of the checkpoint itself."""


class ExportError(Exception):
    """The export cannot go on. The message names the fault and its cure."""
