"""Lost clients: gRPC logs an error with its stack for each client that leaves while its answer is being sent."""

import logging

_LOGGER = logging.getLogger("grpc._cython.cygrpc")


def do_not_log() -> None:
    """That a client leaves is no error, and a client could fill the log with it. All other lines of gRPC's stay."""
    _LOGGER.addFilter(_is_of_something_else)  # added once, however often this is called


def _is_of_something_else(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("ExecuteBatchError raised in core by servicer method")
