"""LinkError: what ends one connection between a front and the core, and nothing else."""


class LinkError(Exception):
    """The other process sent what is torn, too long, wrong or out of order, or does not read, or is gone.

    The message says what, for the log: no client caused it.
    """
