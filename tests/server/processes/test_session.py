"""What becomes of a front's work when the core ends, or says what nobody asked, at each point."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from server.errors import Code, ServingError
from server.processes.front.remote_queue import RemoteQueue
from server.processes.front.session import Session
from server.processes.wire import control_socket, handshake
from server.processes.wire import messages as m
from server.processes.wire.errors import LinkError
from server.processes.wire.region import SLOTS
from server.scheduling.fair_queue import Caller
from server.scheduling.forecast import NOW
from server.scheduling.permit import Permit, Retired
from tests.support.loops import BOTH_LOOPS
from tests.support.seam import LIMIT_S, SIDE, BareCore, Opened, begin, picture, until

pytestmark = [pytest.mark.anyio, BOTH_LOOPS]
CLASSES = 3


@dataclass
class Scene:
    """A front's session, and the bare core at the other end."""

    session: Session
    core: BareCore
    queue: RemoteQueue
    news: list[m.ToFront]
    ends: list[str] = field(default_factory=list)

    def admit(self, patient: bool = False, images: int = 1) -> "asyncio.Task[list[Permit]]":
        async def admit() -> list[Permit]:
            return list(await self.queue.admit(images, Caller(), time.monotonic() + 600, NOW, patient))

        return asyncio.create_task(admit())

    async def permit(self) -> Permit:
        admission = self.admit()
        wanted = await self.core.next()
        assert isinstance(wanted, m.Reserve)
        await self.core.send(m.Granted(wanted.request))
        return (await admission)[0]

    async def submitted(self) -> "tuple[asyncio.Task[float], int]":
        task = begin(await self.permit(), 7)
        sent = await self.core.next()
        assert isinstance(sent, m.Submit)
        return task, sent.slot


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    opened = Opened()
    listening, name = control_socket.listen()
    news: list[m.ToFront] = []
    ends: list[str] = []
    beginning = asyncio.create_task(
        Session.begin(name, lambda session, message: news.append(message), lambda: ends.append("end"))
    )
    core = await BareCore.accept(listening)
    session = await beginning
    yield Scene(session, core, RemoteQueue(session, 5, CLASSES), news, ends)
    core.close()
    listening.close()
    await asyncio.wait_for(session.ended.wait(), LIMIT_S)
    assert ends == ["end"]
    assert session.unanswered() == 0
    assert session.idle.is_set()
    assert not (session._answers or session._reservations or session._questions)
    del session
    await until(opened.nothing)


async def code_of(task: "asyncio.Task[float]") -> Code:
    with pytest.raises(ServingError) as failed:
        await asyncio.wait_for(task, LIMIT_S)
    return failed.value.code


@pytest.mark.parametrize("patient", [False, True])
async def test_a_core_that_ends_before_it_grants_sends_the_caller_away(scene: Scene, patient: bool) -> None:
    admission = scene.admit(patient, images=3)
    assert isinstance(await scene.core.next(), m.Reserve)
    assert scene.session.unanswered() == 3
    scene.core.close()
    with pytest.raises(Retired):
        await asyncio.wait_for(admission, LIMIT_S)


async def test_a_core_that_ends_before_a_submission_fails_it(scene: Scene) -> None:
    permit = await scene.permit()
    scene.core.close()
    await scene.session.ended.wait()
    permit.deadline.extend(math.inf)
    assert await code_of(begin(permit, 1)) is Code.ENGINE_FAILED


async def test_a_permit_outlives_its_core_until_it_is_given_back(scene: Scene) -> None:
    permit = await scene.permit()
    scene.core.close()
    await scene.session.ended.wait()
    assert not scene.session.idle.is_set()
    permit.release()


async def test_a_core_that_ends_before_it_answers_fails_the_image(scene: Scene) -> None:
    task, _ = await scene.submitted()
    scene.core.close()
    assert await code_of(task) is Code.ENGINE_FAILED


async def test_a_core_that_ends_after_a_withdrawal_ends_the_cancelled_caller(scene: Scene) -> None:
    task, slot = await scene.submitted()
    task.cancel()
    assert await scene.core.next() == m.Withdraw(slot)
    assert not task.done()
    scene.core.close()
    await asyncio.wait((task,), timeout=LIMIT_S)
    assert task.cancelled()


async def test_a_core_that_ends_fails_the_questions_of_operators(scene: Scene) -> None:
    question = asyncio.create_task(scene.session.ask("load", "demo"))
    left = asyncio.create_task(scene.session.ask("load", "demo"))
    assert isinstance(await scene.core.next(), m.Ask)
    assert isinstance(await scene.core.next(), m.Ask)
    left.cancel()
    scene.core.close()
    with pytest.raises(ServingError) as failed:
        await asyncio.wait_for(question, LIMIT_S)
    assert failed.value.code is Code.ENGINE_FAILED


async def test_after_the_end_nothing_is_asked_any_more(scene: Scene) -> None:
    scene.core.close()
    await scene.session.ended.wait()
    for patient in (False, True):
        with pytest.raises(Retired):
            await scene.admit(patient)
    with pytest.raises(ServingError) as failed:
        await scene.session.ask("load", "demo")
    assert failed.value.code is Code.ENGINE_FAILED


async def test_whoever_hears_of_the_end_finds_it_known_already(scene: Scene) -> None:
    """Else it would choose a model of this session again, and again be sent away."""
    heard: list[list[str]] = []
    admission, (task, _) = scene.admit(), await _second(scene)
    for each in (admission, task):
        each.add_done_callback(lambda _: heard.append(list(scene.ends)))
    scene.core.close()
    await asyncio.wait((admission, task), timeout=LIMIT_S)
    await until(lambda: len(heard) == 2)
    assert heard == [["end"], ["end"]]
    with pytest.raises(Retired):
        admission.result()
    with pytest.raises(ServingError):
        task.result()


async def _second(scene: Scene) -> "tuple[asyncio.Task[float], int]":
    """A submission behind a reservation that stays unanswered."""
    assert isinstance(await scene.core.next(), m.Reserve)
    return await scene.submitted()


async def test_a_grant_that_comes_too_late_is_given_back(scene: Scene) -> None:
    admission = scene.admit()
    wanted = await scene.core.next()
    assert isinstance(wanted, m.Reserve)
    admission.cancel()
    assert await scene.core.next() == m.Cancel(wanted.request)
    assert scene.session.unanswered() == 1  # the core may still grant it
    await scene.core.send(m.Granted(wanted.request))
    assert await scene.core.next() == m.Release(wanted.slots)
    assert scene.session.unanswered() == 0


@pytest.mark.parametrize("answer", [m.Retired, lambda request: m.Refused(request, Code.QUEUE_FULL, "no", 2.5)])
async def test_a_refusal_that_comes_too_late_frees_the_slots(scene: Scene, answer: Callable[[int], m.Message]) -> None:
    admission = scene.admit()
    wanted = await scene.core.next()
    assert isinstance(wanted, m.Reserve)
    admission.cancel()
    assert await scene.core.next() == m.Cancel(wanted.request)
    await scene.core.send(answer(wanted.request))
    await until(lambda: not scene.session.unanswered())


async def test_a_refusal_and_a_failure_are_those_of_the_core(scene: Scene) -> None:
    admission = scene.admit()
    wanted = await scene.core.next()
    assert isinstance(wanted, m.Reserve)
    await scene.core.send(m.Refused(wanted.request, Code.QUEUE_FULL, "no", 2.5))
    with pytest.raises(ServingError) as refused:
        await admission
    assert (refused.value.code, refused.value.detail, refused.value.retry_after_s) == (Code.QUEUE_FULL, "no", 2.5)
    task, slot = await scene.submitted()
    await scene.core.send(m.Failed(slot, Code.DEADLINE, "late"))
    with pytest.raises(ServingError, match="late") as failed:
        await task
    assert failed.value.code is Code.DEADLINE
    assert await scene.core.next() == m.Release([slot])


async def test_a_row_is_a_copy_of_what_the_slot_holds(scene: Scene) -> None:
    permit = await scene.permit()
    task = asyncio.create_task(permit.submit(picture(7)))
    sent = await scene.core.next()
    assert sent == m.Submit(0, SIDE, SIDE)
    assert (scene.core.region.picture(0, SIDE, SIDE) == 7).all()
    scene.core.region.write_row(0, np.array([0.5, 0.25, 0.25], np.float32))
    await scene.core.send(m.Rows([m.Row(0, 1.0, 2.0, 4)]))
    row = await task
    scene.core.region.write_row(0, np.zeros(3, np.float32))
    assert row.probabilities.tolist() == [0.5, 0.25, 0.25]
    assert (row.queue_s, row.infer_s, row.batch) == (1.0, 2.0, 4)
    permit.release()


async def test_a_front_without_free_slots_refuses_at_once(scene: Scene) -> None:
    taken = scene.session.take_slots(SLOTS)
    assert taken
    with pytest.raises(ServingError) as refused:
        await scene.admit()
    assert (refused.value.code, refused.value.retry_after_s) == (Code.QUEUE_FULL, 1)
    scene.session.free_slots(taken)


async def test_a_patient_caller_waits_for_slots_too(scene: Scene) -> None:
    taken = scene.session.take_slots(SLOTS)
    assert taken
    waiting = [scene.admit(patient=True) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    scene.session.free_slots(taken[:1])
    wanted = await scene.core.next()
    assert isinstance(wanted, m.Reserve)
    assert wanted.slots == taken[:1]
    await scene.core.send(m.Granted(wanted.request))
    (permit,) = await asyncio.wait_for(waiting[1], LIMIT_S)
    assert not waiting[2].done()
    permit.release()
    assert await scene.core.next() == m.Release(wanted.slots)
    assert isinstance(await scene.core.next(), m.Reserve)
    late = scene.admit(patient=True)
    await asyncio.sleep(0)
    scene.core.close()
    for each in (waiting[2], late):
        with pytest.raises(Retired):
            await asyncio.wait_for(each, LIMIT_S)
    scene.session.free_slots(taken[1:])


async def test_who_waits_for_slots_when_the_core_ends_is_sent_away(scene: Scene) -> None:
    taken = scene.session.take_slots(SLOTS)
    assert taken
    waiting = scene.admit(patient=True)
    await asyncio.sleep(0)
    scene.core.close()
    with pytest.raises(Retired):
        await asyncio.wait_for(waiting, LIMIT_S)
    scene.session.free_slots(taken)


async def test_it_is_idle_when_the_last_permit_has_come_back_and_not_before(scene: Scene) -> None:
    one, other = await scene.permit(), await scene.permit()
    one.release()
    assert (scene.session.idle.is_set(), scene.session.unanswered()) == (False, 1)
    other.release()
    assert scene.session.idle.is_set()


UNASKED: list[m.Message] = [
    m.Granted(77),
    m.Refused(77, Code.QUEUE_FULL, "", None),
    m.Retired(77),
    m.Rows([m.Row(3, 0.0, 0.0, 1)]),
    m.Failed(3, Code.INTERNAL, ""),
    m.Answer(77),
    m.Cancel(1),
]


@pytest.mark.parametrize("message", UNASKED, ids=lambda message: type(message).__name__)
async def test_a_core_that_says_what_nobody_asked_is_left(scene: Scene, message: m.Message) -> None:
    task, _ = await scene.submitted()
    await scene.core.send(message)
    await asyncio.wait_for(scene.session.ended.wait(), LIMIT_S)
    assert await code_of(task) is Code.ENGINE_FAILED


async def test_an_answer_that_comes_twice_ends_the_session(scene: Scene) -> None:
    task, slot = await scene.submitted()
    row = m.Row(slot, 0.0, 0.0, 1)
    await scene.core.send(m.Rows([row, row]))
    assert await asyncio.wait_for(task, LIMIT_S) == 0
    await asyncio.wait_for(scene.session.ended.wait(), LIMIT_S)


async def test_what_is_no_answer_is_news(scene: Scene) -> None:
    sent = [m.Offer(5, "/m"), m.Catalogue(True, [], {}), m.Collect(3)]
    await scene.core.send(*sent)
    await until(lambda: len(scene.news) == 3)
    assert scene.news == sent


async def test_a_caller_has_one_number_and_two_have_two(scene: Scene) -> None:
    one, two = Caller(), Caller()
    assert scene.session.number(one) == scene.session.number(one) != scene.session.number(two)


@pytest.mark.parametrize("welcomed", [False, True])
async def test_a_core_that_ends_amid_the_handshake_leaves_nothing_open(welcomed: bool) -> None:
    opened = Opened()
    listening, name = control_socket.listen()
    beginning = asyncio.create_task(Session.begin(name, lambda session, message: None, lambda: None))
    control, _ = await asyncio.get_running_loop().sock_accept(listening)
    if welcomed:
        (await handshake.welcome(control)).close()
    control.close()
    listening.close()
    if welcomed:
        await asyncio.wait_for((await beginning).ended.wait(), LIMIT_S)
    else:
        with pytest.raises(LinkError):
            await beginning
    del beginning
    await until(opened.nothing)
