"""gRPC's log: without a line for each client that leaves, and with all others."""

import logging

import pytest

from server.rpc import lost_clients

_LEFT = "ExecuteBatchError raised in core by servicer method [/sesame.v1.ImageClassifier/Classify]"
_BUG = "ValueError raised in core by servicer method [/sesame.v1.ImageClassifier/Classify]"


def test_only_a_client_that_left_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("grpc._cython.cygrpc")
    lost_clients.do_not_log()
    lost_clients.do_not_log()
    logger.error(_LEFT)
    logger.error(_BUG)
    assert [record.getMessage() for record in caplog.records] == [_BUG]
    assert len(logger.filters) == 1
