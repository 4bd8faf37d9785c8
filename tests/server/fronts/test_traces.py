"""Two fronts and a core: a trace leads from the client through a front to the core and its batch."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from server.pb.sesame.v1 import classifier_pb2 as pb
from server.pb.sesame.v1 import classifier_pb2_grpc as pb_grpc
from server.trace import Trace
from tests.support import fast
from tests.support.collector import Collector, check_one_image, collector, named
from tests.support.pictures import jpeg
from tests.support.served_tree import FRONTS, ServedTree, served_tree

pytestmark = pytest.mark.anyio

CORE = {"queue", "infer", "batch"}


@pytest.fixture(scope="module")
def there() -> Iterator[Collector]:
    with collector() as there:
        yield there


@pytest.fixture(scope="module")
def tree(demo: Path, cache: Path, there: Collector) -> Iterator[ServedTree]:
    fast.leave("starts a server")
    with served_tree(demo.parents[1], cache, f"--otlp-endpoint={there.url}") as tree:
        tree.listen()
        tree.ready("core", *FRONTS)
        yield tree
        assert tree.end() == 0


async def test_a_trace_crosses_from_a_front_to_the_core(tree: ServedTree, there: Collector) -> None:
    rest, rpc = (dataclasses.replace(Trace.begun(), recorded=True) for _ in range(2))
    async with tree.client_of("front-1") as http:
        answer = await http.post("/classify", content=jpeg(1), headers={"traceparent": rest.header()})
    assert answer.status_code == 200
    async with grpc.aio.insecure_channel(tree.grpc) as channel:
        stub = pb_grpc.ImageClassifierStub(channel)  # type: ignore[no-untyped-call]
        await stub.Classify(pb.ClassifyRequest(image=jpeg(2)), metadata=(("traceparent", rpc.header()),))
    for caller, name in ((rest, "POST /classify"), (rpc, "sesame.v1.ImageClassifier/Classify")):
        spans = await there.until_named(name, "batch", trace_id=caller.trace_id.to_bytes(16))
        check_one_image(spans, name, caller.span_id.to_bytes(8), ("receive", "decode", "respond"))
        assert {seen.name for seen in spans if seen.process == "core"} == CORE
        front = named(spans, name).process
        assert {seen.process for seen in spans if seen.name not in CORE} == {front}
        assert front in (("front-1",) if name == "POST /classify" else FRONTS)


def test_all_lines_of_all_processes_are_objects(demo: Path, cache: Path) -> None:
    fast.leave("starts a server")
    with served_tree(demo.parents[1], cache, "--log-format=json") as tree:
        for _ in FRONTS:
            tree.until('"logger":"server.startup.app","message":"ready"')
        assert tree.end() == 0
        lines = [json.loads(line) for line in tree.lines[:-1]]
    assert {line.get("process") for line in lines} == {None, "core", *FRONTS}
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
