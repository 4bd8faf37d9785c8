"""What a key pays for at the queue of its model, in this process and in the core."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from prometheus_client import CollectorRegistry

from server.errors import Code, ServingError
from server.keys.key import Key
from server.keys.keyring import Keyring
from server.keys.ledger import Ledger
from server.metrics import Metrics
from server.processes.front.remote_queue import RemoteQueue
from server.scheduling.fair_queue import Caller, Priority
from server.scheduling.forecast import NOW
from server.scheduling.key_callers import KeyCallers
from server.scheduling.permit import Permit
from tests.server.keys.conftest import SLOW
from tests.support.gate import Gate, batcher_of
from tests.support.seam import Seam, seam

pytestmark = pytest.mark.anyio
KEY = Key("a", b"a" * 32, rate=SLOW, burst=3, quota_per_day=100)


class Scene:
    """A queue with two permits, and the one key that its callers have."""

    def __init__(self, queue: Seam, ledger: Ledger) -> None:
        self.queue, self.ledger = queue, ledger
        self._callers = KeyCallers(ledger)
        if queue.core:  # the core has the accounts, and the front only the name
            queue.core.versions.callers = self._callers
            self._callers = KeyCallers()

    @property
    def caller(self) -> Caller:
        return self._callers.of("a", Priority.INTERACTIVE)

    @property
    def used(self) -> float:
        account = self.ledger.account("a")
        assert account
        return KEY.quota_per_day - account.quota_left()

    async def code(self, images: int = 1, patient: bool = False, left_s: float = 600) -> Code | None:
        """What a request is refused with; None where it is admitted, and its permits are given back."""
        try:
            permits = await self.queue.admit(images, self.caller, patient, left_s)
        except ServingError as error:
            return error.code
        release(*permits)
        return None


def release(*permits: Permit) -> None:
    for permit in permits:
        permit.release()


@asynccontextmanager
async def opened(kind: str) -> AsyncIterator[Scene]:
    ledger = Ledger(Keyring([KEY]), Metrics(CollectorRegistry()).key_quota_left)
    async with seam(kind, batcher_of(Gate(open=True).run, permits=2, max_batch=4)) as queue:
        yield Scene(queue, ledger)


@pytest.fixture(params=["local", "remote"])
async def scene(request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    async with opened(request.param) as scene:
        yield scene


async def test_a_refused_request_takes_nothing(scene: Scene) -> None:
    permits = await scene.queue.admit(2, scene.caller)
    assert [await scene.code() for _ in range(5)] == [Code.QUEUE_FULL] * 5
    assert await scene.code(left_s=-1) in (Code.DEADLINE, Code.QUEUE_FULL)
    assert scene.used == 2
    release(*permits)
    await scene.queue.settle()
    assert await scene.code(2) is Code.RATE_LIMITED
    assert [await scene.code(), await scene.code()] == [None, Code.RATE_LIMITED]
    assert scene.used == 3


async def test_what_could_never_pass_is_malformed(scene: Scene) -> None:
    assert await scene.code(4) is Code.MALFORMED
    assert scene.used == 0


async def test_a_patient_request_that_leaves_has_taken_nothing(scene: Scene) -> None:
    permits = await scene.queue.admit(2, scene.caller)
    waiting = asyncio.create_task(scene.queue.admit(1, scene.caller, patient=True))
    await scene.queue.settle()
    assert (waiting.done(), scene.used) == (False, 3)
    waiting.cancel()
    await asyncio.wait((waiting,))
    await scene.queue.settle()
    assert scene.used == 2
    release(*permits)


async def test_patience_has_its_end_in_the_deadline(scene: Scene) -> None:
    permits = await scene.queue.admit(2, scene.caller)
    release(*permits)
    assert await scene.code(patient=True) is None
    assert await scene.code(patient=True) is Code.RATE_LIMITED
    assert scene.used == 3


async def test_a_removed_key_is_refused_and_who_waits_for_it_too(scene: Scene) -> None:
    permits = await scene.queue.admit(2, scene.caller)
    waiting = asyncio.create_task(scene.code(patient=True))
    await scene.queue.settle()
    caller = scene.caller
    scene.ledger.take_over(Keyring([]))
    release(*permits)
    await scene.queue.settle()
    with pytest.raises(ServingError) as refused:
        await scene.queue.admit(1, caller)
    assert refused.value.code is Code.UNAUTHORIZED
    assert await waiting in (None, Code.UNAUTHORIZED)  # it may have been admitted before


async def test_all_fronts_requests_of_a_key_are_one_caller() -> None:
    async with opened("remote") as scene:
        core = scene.queue.core
        assert core
        other = await core.connect()
        queue = RemoteQueue(other, max(core.versions.loads), classes=1)
        callers = KeyCallers()
        one = await scene.queue.admit(1, scene.caller)
        two = await queue.admit(1, callers.of("a", Priority.INTERACTIVE), 1e9, NOW, patient=False)
        held = [held.permit.caller for gateway in core.gateways for held in gateway._held.values()]
        assert len(held) == 2
        assert held[0] is held[1]
        release(*one, *two)
        await other.ask("metrics")
        other.close()
        await other.ended.wait()


def test_priorities_of_a_key_are_two_callers_and_keys_are_others() -> None:
    callers = KeyCallers()
    kept = [callers.of("a", Priority.INTERACTIVE), callers.of("a", Priority.BULK), callers.of("b", Priority.BULK)]
    assert len(set(kept)) == 3
    assert callers.of("a", Priority.BULK) is kept[1]
