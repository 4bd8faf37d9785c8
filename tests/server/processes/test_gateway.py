"""What a front may do wrong: its connection ends, nobody else's, and everything that it held comes back."""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from server.errors import Code, ServingError
from server.processes.wire import messages as m
from server.processes.wire.region import SLOTS
from server.scheduling.batcher import Batcher
from tests.support.gate import Gate, batcher_of
from tests.support.loops import BOTH_LOOPS
from tests.support.seam import LIMIT_S, SIDE, BareFront, CoreSide, Opened, Seam, begin, picture, regions_mapped, until

pytestmark = [pytest.mark.anyio, BOTH_LOOPS]
PERMITS = 4


@dataclass
class Scene:
    """A front that may do wrong, one that does not, and the core."""

    core: CoreSide
    gate: Gate
    batcher: Batcher
    good: Seam
    bad: BareFront
    load: int

    def reserve(self, request: int, slots: list[int], patient: bool = False, caller: int = 1) -> m.Reserve:
        return m.Reserve(request, self.load, slots, caller, False, patient, time.monotonic() + 600, 0.0, 0.0)

    async def holding(self, *slots: int) -> None:
        """The bad front has these permits."""
        await self.bad.send(self.reserve(1000, list(slots)))
        assert await self.bad.next() == m.Granted(1000)

    async def running(self, *slots: int) -> None:
        """The bad front has these images in the engine and behind it."""
        await self.holding(*slots)
        await self.bad.send(*(m.Submit(slot, SIDE, SIDE) for slot in slots))
        await self.gate.until_entered()


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    opened = Opened()
    gate = Gate()
    batcher = batcher_of(gate.run, PERMITS, max_batch=2)
    core = CoreSide()
    session = await core.connect()
    good = Seam(batcher, core, session)
    bad = await core.bare()
    yield Scene(core, gate, batcher, good, bad, min(core.versions.loads))
    gate.let_through(100)
    bad.close()
    async with asyncio.timeout(LIMIT_S):
        await batcher.admission.idle()
        await until(lambda: core.gateways[1].region.fd < 0)
    assert await begin((await good.admit())[0], 99) == 99  # the other front goes on
    await good.end()
    session.close()
    await session.ended.wait()
    await core.close()
    await until(opened.nothing)  # a lane thread drops its batch last


async def test_a_region_that_is_left_mapped_would_be_seen() -> None:
    core, mapped = CoreSide(), regions_mapped()
    front = await core.bare()
    assert regions_mapped() == mapped + 2  # both sides are in this process
    front.close()
    await core.close()
    assert regions_mapped() == mapped


Wrong = Callable[[Scene], Coroutine[Any, Any, Sequence[m.Message]]]


def sends(*messages: m.Message) -> Wrong:
    async def wrong(scene: Scene) -> Sequence[m.Message]:
        return messages

    return wrong


def holding(*messages: m.Message) -> Wrong:
    async def wrong(scene: Scene) -> Sequence[m.Message]:
        await scene.holding(0, 1)
        return messages

    return wrong


def running(*messages: m.Message) -> Wrong:
    async def wrong(scene: Scene) -> Sequence[m.Message]:
        await scene.running(0, 1, 2)
        return messages

    return wrong


async def answered(scene: Scene) -> Sequence[m.Message]:
    await scene.running(0)
    scene.gate.let_through()
    assert isinstance(await scene.bad.next(), m.Rows)
    return [m.Submit(0, SIDE, SIDE)]


async def reserved_again(scene: Scene) -> Sequence[m.Message]:
    await scene.holding(0, 1)
    return [scene.reserve(2, [2, 1])]


async def reserved_twice_in_one(scene: Scene) -> Sequence[m.Message]:
    return [scene.reserve(2, [3, 3])]


async def no_such_slot(scene: Scene) -> Sequence[m.Message]:
    return [scene.reserve(2, [SLOTS])]


async def a_waiting_one_is_reserved(scene: Scene) -> Sequence[m.Message]:
    await scene.holding(0, 1, 2, 3)
    return [scene.reserve(2, [4], patient=True), scene.reserve(3, [4])]


async def waiting_ones_share_a_slot(scene: Scene) -> Sequence[m.Message]:
    await scene.holding(0, 1, 2, 3)
    return [scene.reserve(2, [4], patient=True), scene.reserve(3, [4], patient=True)]


async def a_number_is_used_twice(scene: Scene) -> Sequence[m.Message]:
    await scene.holding(0, 1, 2, 3)
    return [scene.reserve(2, [4], patient=True), scene.reserve(2, [5], patient=True)]


async def a_number_is_used_for_a_question_too(scene: Scene) -> Sequence[m.Message]:
    await scene.holding(0, 1, 2, 3)
    return [scene.reserve(2, [4], patient=True), m.Ask(2, "metrics", "")]


async def a_question_is_asked_twice(scene: Scene) -> Sequence[m.Message]:
    scene.core.versions.answered.clear()
    return [m.Ask(2, "metrics", ""), m.Ask(2, "metrics", "")]


WRONG: dict[str, Wrong] = {
    "a second hello": sends(m.Hello(m.PROTOCOL, 4, 1 << 20)),
    "submit of nothing": sends(m.Submit(0, SIDE, SIDE)),
    "withdraw of nothing": sends(m.Withdraw(0)),
    "extend of nothing": sends(m.Extend(0, math.inf)),
    "release of nothing": sends(m.Release([0])),
    "another slot is submitted": holding(m.Submit(2, SIDE, SIDE)),
    "another slot is withdrawn": holding(m.Withdraw(2)),
    "another slot is extended": holding(m.Extend(2, 1.0)),
    "another slot is released": holding(m.Release([0, 2])),
    "a slot is released twice": holding(m.Release([0]), m.Release([0])),
    "a slot is released twice in one": holding(m.Release([1, 1])),
    "a released slot is submitted": holding(m.Release([1]), m.Submit(1, SIDE, SIDE)),
    "a picture of another height": holding(m.Submit(0, SIDE + 1, SIDE)),
    "a picture of another width": holding(m.Submit(0, SIDE, 1)),
    "a picture that fits no slot": holding(m.Submit(0, 65535, 65535)),
    "a trace that is torn": holding(m.Submit(0, SIDE, SIDE, b"torn")),
    "a double submit": running(m.Submit(1, SIDE, SIDE)),
    "a release in the engine": running(m.Release([0])),
    "a release in the queue": running(m.Release([2])),
    "a release of one that was withdrawn in the engine": running(m.Withdraw(0), m.Release([0])),
    "a second image for one permit": answered,
    "a slot in use is reserved": reserved_again,
    "a slot is reserved twice in one": reserved_twice_in_one,
    "a slot that does not exist": no_such_slot,
    "a slot that waits is reserved": a_waiting_one_is_reserved,
    "two that wait share a slot": waiting_ones_share_a_slot,
    "a number is used twice": a_number_is_used_twice,
    "a number is used for a question too": a_number_is_used_for_a_question_too,
    "a question is asked twice": a_question_is_asked_twice,
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_what_a_front_does_wrong_ends_its_connection_alone(
    scene: Scene, wrong: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    await scene.bad.send(*await WRONG[wrong](scene))
    got = await scene.bad.until_ended()
    assert not any(isinstance(message, m.Granted | m.Answer) for message in got)
    assert "bug" not in caplog.text  # it was refused, not met by chance
    scene.core.versions.answered.set()
    await scene.good.settle()


ABRUPT: dict[str, Wrong] = {
    "at once": sends(),
    "amid a frame": sends(),
    "holding permits": holding(),
    "submitting": holding(m.Submit(0, SIDE, SIDE)),
    "with images in the engine": running(),
    "after a withdrawal in the engine": running(m.Withdraw(0)),
    "after a withdrawal in the queue": running(m.Withdraw(2)),
    "with an extension": running(m.Extend(2, math.inf)),
    "with a question": sends(m.Ask(5, "metrics", "")),
}


@pytest.mark.parametrize("when", ABRUPT)
async def test_a_front_may_end_at_any_point(scene: Scene, when: str) -> None:
    messages = await ABRUPT[when](scene)
    torn = b"\x10" if when == "amid a frame" else b""
    await scene.bad.send_bytes(b"".join(m.encode(message) for message in messages) + torn)
    gateway = scene.core.gateways[1]
    items = [held.item for held in gateway._held.values() if held.item]
    scene.bad.close()
    await until(lambda: gateway.region.fd < 0)
    assert sum(item.abandoned for item in items) >= ("engine" in when)  # a batch that is not laid out leaves it out
    in_a_batch = scene.batcher.queue.in_engine() if "engine" in when or "queue" in when or "extension" in when else 0
    if in_a_batch:
        assert scene.good.taken == in_a_batch  # the engine has the work still
    scene.gate.let_through(9)
    await asyncio.wait_for(scene.batcher.admission.idle(), LIMIT_S)


async def test_a_front_may_end_while_it_waits_patiently(scene: Scene) -> None:
    permits = await scene.good.admit(4)
    await scene.bad.send(scene.reserve(2, [4], patient=True), scene.reserve(3, [5], patient=True))
    await until(lambda: len(scene.core.gateways[1]._waiting) == 2)
    permits[0].release()
    scene.bad.close()
    await until(lambda: not scene.core.gateways[1]._waiting and scene.core.gateways[1].region.fd < 0)
    await until(lambda: scene.good.taken == 3)
    for permit in permits[1:]:
        permit.release()


async def test_bytes_that_are_no_frames_end_the_connection(scene: Scene) -> None:
    await scene.holding(0, 1)
    await scene.bad.send_bytes(b"\xff" * 64)
    assert await scene.bad.until_ended() == []


async def test_torn_frames_are_put_together(scene: Scene) -> None:
    data = m.encode(scene.reserve(7, [0])) + m.encode(m.Release([0])) + m.encode(m.Ask(8, "metrics", ""))
    for at in range(0, len(data), 3):
        await scene.bad.send_bytes(data[at : at + 3])
        await asyncio.sleep(0)
    assert [await scene.bad.next(), await scene.bad.next()] == [m.Granted(7), m.Answer(8)]


async def test_what_means_nothing_any_more_is_no_fault(scene: Scene) -> None:
    """It crosses with the core's answer, or was asked by somebody who has gone."""
    await scene.bad.send(m.Cancel(77), m.Prepared(77, "no"), m.Samples(77, b"x"))
    await scene.running(0)
    scene.gate.let_through()
    assert isinstance(await scene.bad.next(), m.Rows)
    await scene.bad.send(m.Withdraw(0), m.Extend(0, math.inf), m.Release([0]), m.Ask(8, "metrics", ""))
    assert await scene.bad.next() == m.Answer(8)
    assert scene.good.taken == 0


async def test_a_load_that_is_not_known_is_told_as_retired(scene: Scene) -> None:
    for patient in (False, True):
        wanted = m.Reserve(5, 1 << 40, [0], 1, False, patient, math.inf, 0.0, 0.0)
        await scene.bad.send(wanted)
        assert await scene.bad.next() == m.Retired(5)


@pytest.mark.parametrize("together", [False, True])
async def test_a_patient_reserve_that_is_cancelled_is_answered(scene: Scene, together: bool) -> None:
    permits = await scene.good.admit(4)
    await scene.bad.send(scene.reserve(2, [4], patient=True), *([m.Cancel(2)] if together else []))
    if not together:
        await until(lambda: scene.core.gateways[1]._waiting)
        await scene.good.settle()
        await scene.bad.send(m.Cancel(2))
    refused = await scene.bad.next()
    assert isinstance(refused, m.Refused)
    assert refused.request == 2
    for permit in permits:
        permit.release()
    await scene.good.settle()
    await scene.bad.send(scene.reserve(2, [4], patient=True))
    assert await scene.bad.next() == m.Granted(2)


async def test_the_number_of_a_caller_is_its_front_s_own_and_means_the_same_caller(scene: Scene) -> None:
    batcher = batcher_of(scene.gate.run, permits=9, max_batch=2)
    load = scene.core.versions.add(batcher)
    others = await scene.core.bare()

    async def ask(front: BareFront, request: int, slots: list[int], caller: int) -> m.ToFront | None:
        await front.send(m.Reserve(request, load, slots, caller, False, False, math.inf, 0.0, 0.0))
        return await front.next()

    assert await ask(others, 1, [0], caller=1) == m.Granted(1)
    assert await ask(scene.bad, 1, [0, 1, 2, 3], caller=1) == m.Granted(1)
    refused = await ask(scene.bad, 2, [4], caller=1)
    assert isinstance(refused, m.Refused)
    assert "fair share" in refused.detail
    assert await ask(scene.bad, 3, [4], caller=2) == m.Granted(3)
    others.close()
    scene.bad.close()
    await asyncio.wait_for(batcher.admission.idle(), LIMIT_S)


async def test_an_operators_request_goes_on_though_its_front_ends(scene: Scene) -> None:
    versions = scene.core.versions
    versions.answered.clear()
    await scene.bad.send(m.Ask(5, "load", "demo", ""))
    await until(lambda: versions.asked)
    task = scene.core.gateways[1]._asking[5]
    scene.bad.close()
    await until(lambda: scene.core.gateways[1].region.fd < 0)
    assert not task.done()
    versions.answered.set()
    await asyncio.wait_for(task, LIMIT_S)


async def test_an_operators_request_that_fails_is_answered(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    await scene.bad.send(m.Ask(5, "load", "bug", ""))
    refused = await scene.bad.next()
    assert isinstance(refused, m.Refused)
    assert (refused.request, refused.code) == (5, Code.INTERNAL)
    assert "KeyError" in caplog.text
    assert scene.good.session is not None
    with pytest.raises(ServingError):
        await scene.good.session.ask("load", "bug")


async def test_a_picture_that_changes_after_its_submission_concerns_its_own_front_alone(scene: Scene) -> None:
    first = begin((await scene.good.admit())[0], 1)
    await scene.gate.until_entered()
    await scene.holding(0)
    second = begin((await scene.good.admit())[0], 2)
    await until(lambda: scene.batcher.queue.waiting() == 1)
    scene.bad.region.picture(0, SIDE, SIDE)[...] = picture(9)
    await scene.bad.send(m.Submit(0, SIDE, SIDE))
    scene.gate.let_through(9)
    assert await first == 1
    assert await second == 2
    assert isinstance(await scene.bad.next(), m.Rows)
    assert scene.bad.region.read_row(0, 1)[0] == 9
