"""Engines that raise, answer wrongly or hang: what clients get, and how ready the server reports to be."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bundle.files import Bundle
from bundle.images import Pixels
from bundle.predictions import Probabilities
from server.engines.choice import Choice
from server.host.exit_codes import HUNG
from tests.support.faces import Held, held, running
from tests.support.pictures import jpeg

pytestmark = pytest.mark.anyio
both = pytest.mark.parametrize("face", ["rest", "rpc"])


class Spoilt(Held):
    """Passes the bundle's check; once closed, answers as `spoil` makes it, until `spoil` is None."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle)
        self.spoil: Callable[[Probabilities], Probabilities] | None = None

    def run(self, pixels: Pixels) -> Probabilities:
        rows = super().run(pixels) if not self.closed else np.repeat(self._row, len(pixels), axis=0)
        return self.spoil(rows) if self.spoil else rows


def raising(rows: Probabilities) -> Probabilities:
    raise OSError("/dev/secret broke")


def short(rows: Probabilities) -> Probabilities:
    return rows[1:]


def not_a_number(rows: Probabilities) -> Probabilities:
    return rows * np.float32("nan")


@both
@pytest.mark.parametrize("spoil", [raising, short, not_a_number])
async def test_a_failing_engine_is_reported_and_a_failing_server_not_ready_until_it_recovers(
    face: str, spoil: Callable[[Probabilities], Probabilities], demo: Path
) -> None:
    engines: list[Spoilt] = []

    def choose(bundle: Bundle) -> Choice:
        engines.append(Spoilt(bundle))
        return Choice(engines[0], "")

    async with running(demo.parents[1], choose) as server:
        client, (engine,) = server.client(face), engines
        engine.closed = True
        engine.spoil = spoil
        for seed in range(3):
            assert await server.client(face).ready()
            failed = await client.classify(jpeg(seed))
            assert failed.code == "engine_failed"
            assert "secret" not in failed.detail
        while await client.ready():
            await asyncio.sleep(0.01)
        (state,) = (await server.rest.http.get("/readyz")).json()["models"]
        assert state["reason"] == "its engine fails; the server tries it again every half second"
        assert (await server.rest.http.get("/livez")).status_code == 200
        engine.spoil = None
        while not await client.ready():  # nobody asks: the server tries by itself
            await asyncio.sleep(0.01)
        assert not (await client.classify(jpeg())).code


@both
async def test_a_hanging_engine_fails_its_callers_and_ends_the_process_with_code_70(face: str, demo: Path) -> None:
    async with held(demo, engine_limit_s=1) as (server, engine):
        callers = [asyncio.create_task(server.client(face).classify(jpeg(seed))) for seed in range(5)]
        await asyncio.to_thread(engine.entered.wait, 20)
        assert [outcome.code for outcome in await asyncio.gather(*callers)] == ["engine_failed"] * 5
        assert await server.task == HUNG


async def test_a_server_whose_engine_hangs_says_that_only_a_new_process_helps(demo: Path) -> None:
    async with running(demo.parents[1]) as server:
        server.app.parts.lifecycle.break_down()
        assert (await server.rest.http.get("/livez")).status_code == 500
        assert (await server.rest.http.get("/readyz")).status_code == 503
        assert (await server.rpc.classify(jpeg())).code == "draining"


@both
async def test_corrupt_images_among_the_load_fail_nobody_else(face: str, demo: Path) -> None:
    """5 % of 400 images, in all positions."""
    chance = random.Random(5)
    async with running(demo.parents[1], queue_images=512) as server:
        client = server.client(face)
        good = [jpeg(seed) for seed in range(20)]
        photos = [good[chance.randrange(20)] for _ in range(400)]
        corrupt = set(chance.sample(range(400), 20))
        for at in corrupt:
            photos[at] = photos[at][: len(photos[at]) // 2]
        outcomes = await asyncio.gather(*(client.classify(photo) for photo in photos))
        codes = {at: outcome.code for at, outcome in enumerate(outcomes) if outcome.code}
        assert codes == dict.fromkeys(sorted(corrupt), "bad_image")
        expected = {photo: (await client.classify(photo)).indexes for photo in good}
        assert all(outcome.indexes == expected[photos[at]] for at, outcome in enumerate(outcomes) if at not in corrupt)


@both
async def test_equal_photos_at_the_same_time_are_computed_once(face: str, demo: Path) -> None:
    async with held(demo) as (server, engine):
        client = server.client(face)
        first = asyncio.create_task(client.classify(jpeg(1)))
        await asyncio.to_thread(engine.entered.wait, 20)
        others = [asyncio.create_task(client.classify(photo)) for photo in [jpeg(2)] * 5 + [jpeg(1)]]
        await server.until("sesame_permits_taken", 7)
        first.cancel()
        engine.gate.release(100)
        assert [outcome.batch for outcome in await asyncio.gather(*others)] == [1] * 6
        assert await server.metric("sesame_batch_images_sum") == 2
        await server.until("sesame_permits_taken", 0)
        assert await server.metric("sesame_admitted_total") == await server.metric("sesame_images_total") == 7


@both
async def test_remembered_photos_are_answered_without_the_engine(face: str, demo: Path) -> None:
    async with running(demo.parents[1], remember_images=1) as server:
        client = server.client(face)
        computed, remembered = [await client.classify(jpeg(1)) for _ in range(2)]
        assert computed.predictions == remembered.predictions
        assert (computed.batch, remembered.batch) == (1, 0)
        assert (await client.classify(jpeg(2))).batch == 1
        assert (await client.classify(jpeg(1))).batch == 1
