"""What falls with which process: a front with its connections, the core with what is under way, the parent with all."""

import asyncio
import os
import re
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.support.faces import rest_outcome
from tests.support.pictures import jpeg
from tests.support.process_tree import eventually, is_gone
from tests.support.served_tree import FRONTS, Load, ServedTree, metric, served_tree, until_metric, until_ready

pytestmark = pytest.mark.anyio


async def test_a_front_that_dies_breaks_its_connections_alone_and_another_takes_its_place(
    shared_tree: ServedTree,
) -> None:
    dead = shared_tree.processes["front-1"]
    load = Load(shared_tree, 8)
    async with shared_tree.client_of("front-0") as of_another, shared_tree.client_of("front-1") as of_the_dead:
        await load.answered(16)
        assert (await of_the_dead.post("/classify", content=jpeg())).status_code == 200
        restarts = await metric(of_another, "sesame_restarts_total")
        os.kill(dead, signal.SIGKILL)
        await load.answered(64)
        assert (await of_another.post("/classify", content=jpeg())).status_code == 200
        await asyncio.to_thread(shared_tree.ready, "front-1")
        assert shared_tree.processes["front-1"] != dead
        await load.end()
        assert set(load.seen) <= {"200", "broken"}, load.refusals
        assert load.seen["broken"] <= 8
        await until_metric(of_another, "sesame_permits_taken", 0)
        await until_metric(of_another, "sesame_fronts", 2)
        assert await metric(of_another, "sesame_restarts_total") == restarts + 1
    async with shared_tree.client_of("front-1") as of_the_new:
        assert (await of_the_new.post("/classify", content=jpeg())).status_code == 200


async def test_while_the_core_is_away_the_fronts_say_so_and_when_to_come_again(shared_tree: ServedTree) -> None:
    dead = shared_tree.processes["core"]
    fronts = [shared_tree.processes[name] for name in FRONTS]
    load = Load(shared_tree, 8)
    async with shared_tree.client_of("front-0") as one, shared_tree.client_of("front-1") as other:
        await load.answered(16)
        os.kill(dead, signal.SIGKILL)
        await load.has_seen("503")
        assert (await one.get("/livez")).status_code == 200
        await asyncio.to_thread(shared_tree.ready, "core")
        assert shared_tree.processes["core"] != dead
        for http in (one, other):
            await until_ready(http)
            assert (await http.post("/classify", content=jpeg())).status_code == 200
        await load.answered(16)
        await load.end()
        assert [shared_tree.processes[name] for name in FRONTS] == fronts
        assert not any(map(is_gone, fronts))
        assert set(load.seen) <= {"200", "500", "503"}
        for refusal in load.refusals:
            code = rest_outcome(refusal.json()).code
            assert code == {500: "engine_failed", 503: "not_ready"}[refusal.status_code]
            assert refusal.status_code == 500 or refusal.headers["retry-after"] == "1"
        await until_metric(one, "sesame_permits_taken", 0)
        assert await metric(one, "sesame_admitted_total") == await metric(one, "sesame_images_total")


async def test_when_the_parent_dies_all_are_gone(demo: Path, cache: Path) -> None:
    with served_tree(demo.parents[1], cache) as tree:
        tree.listen()
        tree.ready("core", *FRONTS)
        load = Load(tree, 4, frozenset({"broken"}))
        await load.answered(4)
        tree.process.kill()
        await load.all_ended()
        assert eventually(lambda: all(map(is_gone, tree.processes.values())))
        tree.exit_code()


@pytest.mark.parametrize("to_all", [False, True], ids=["to the parent", "to all at once"])
async def test_sigterm_under_load_leaves_nothing_unanswered(to_all: bool, demo: Path, cache: Path) -> None:
    """New work is accepted for a second. Then connections end, and no client waits at a port nobody serves."""
    with served_tree(demo.parents[1], cache, "--drain-delay-s=1") as tree:
        tree.listen()
        tree.ready("core", *FRONTS)
        load = Load(tree, 8, frozenset({"503", "broken"}))
        async with tree.client_of("front-0") as http:
            await load.answered(16)
            for pid in tree.processes.values() if to_all else ():
                os.kill(pid, signal.SIGTERM)
            tree.process.terminate()
            while (await http.get("/readyz")).status_code == 200:
                await asyncio.sleep(0.01)
            await load.answered(8)
        await load.all_ended()
        assert tree.exit_code() == 0
        assert all(map(is_gone, tree.processes.values()))
    totals: Counter[str] = Counter()
    for line in tree.lines:
        if "stopped images" in line:
            totals.update({name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", line)})
    assert totals == {"admitted": load.seen["200"], "ok": load.seen["200"]}
    assert not load.seen["500"]
