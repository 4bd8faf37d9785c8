"""`python -m bench.wire`: what the messages of one image cost a front and the core, in CPU time of each."""

import argparse
import asyncio
import itertools
import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from multiprocessing.queues import SimpleQueue

import numpy as np
import uvloop

from bench import packed
from server.processes.wire import control_socket, messages
from server.processes.wire.frames import Frames, frames_to_core, frames_to_front
from server.processes.wire.free_slots import FreeSlots
from server.processes.wire.handshake import greet, welcome
from server.processes.wire.link import Link
from server.processes.wire.messages import Granted, Message, Release, Reserve, Row, Rows, Submit, ToCore, ToFront
from server.processes.wire.region import Region

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.SelectorEventLoop,
    "uvloop": uvloop.new_event_loop,
}
IN_FLIGHT = (1, 32)
SIDE, CLASSES = 224, 1000


class Core:
    """Grants every permit, and answers all images of a turn together."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.link: Link[ToFront, ToCore] = Link(frames_to_core(), self._take, lambda reason: self.ended.set())
        self._rows: list[Row] = []
        self._loop = asyncio.get_running_loop()

    def _take(self, message: ToCore) -> None:
        if isinstance(message, Reserve):
            self.link.send(Granted(message.request))
        elif isinstance(message, Submit):
            if not self._rows:
                self._loop.call_soon(self._answer)
            self._rows.append(Row(message.slot, 0.001, 0.02, 8))

    def _answer(self) -> None:
        self.link.send(Rows(self._rows))
        self._rows = []


class Front:
    """Has so many images under way until it has had all."""

    def __init__(self, images: int, in_flight: int) -> None:
        self.ended = asyncio.Event()
        self.link: Link[ToCore, ToFront] = Link(frames_to_front(), self._take, lambda reason: self.ended.set())
        self._in_flight = in_flight
        self.left = images
        self._slots = FreeSlots(1024)
        self._requests = itertools.count()
        self._reserved: dict[int, int] = {}

    def begin(self) -> None:
        for _ in range(self._in_flight):
            self._reserve()

    def _reserve(self) -> None:
        slots = self._slots.take(1)
        assert slots
        request = next(self._requests)
        self._reserved[request] = slots[0]
        self.link.send(reserve(request, slots))

    def _take(self, message: ToFront) -> None:
        if isinstance(message, Granted):
            self.link.send(Submit(self._reserved.pop(message.request), SIDE, SIDE))
        elif isinstance(message, Rows):
            for row in message.rows:
                self._answered(row.slot)

    def _answered(self, slot: int) -> None:
        self.link.send(Release([slot]))
        self._slots.give_back([slot])
        self.left -= 1
        if self.left >= self._in_flight:
            self._reserve()
        elif not self.left:
            self.link.close()


def reserve(request: int, slots: list[int]) -> Reserve:
    return Reserve(request, 1, slots, request, False, False, time.monotonic() + 5, 0.004, 0.004)


async def run_front(name: str, images: int, in_flight: int) -> float:
    """CPU seconds an image."""
    control, region = control_socket.connect(name), Region.create()
    await greet(control, region)
    front = Front(images, in_flight)
    await front.link.start(control)
    began_s = time.process_time()
    front.begin()
    await front.ended.wait()
    assert not front.left, f"The core left {front.left} of {images} images without an answer."
    return (time.process_time() - began_s) / images


def front_process(loop: str, name: str, images: int, in_flight: int, told: "SimpleQueue[float]") -> None:
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        told.put(runner.run(run_front(name, images, in_flight)))


async def run_core(loop: str, images: int, in_flight: int) -> tuple[float, float]:
    """CPU seconds an image of the front and of the core."""
    spawn = multiprocessing.get_context("spawn")
    listening, name = control_socket.listen()
    told: SimpleQueue[float] = spawn.SimpleQueue()
    process = spawn.Process(target=front_process, args=(loop, name, images, in_flight, told))
    process.start()
    control, _ = await asyncio.get_running_loop().sock_accept(listening)
    region = await welcome(control)
    core = Core()
    began_s = time.process_time()
    await core.link.start(control)
    await core.ended.wait()
    core_s = (time.process_time() - began_s) / images
    front_s = told.get()
    process.join()
    region.close()
    listening.close()
    return front_s, core_s


def exchange_us(loop: str, images: int, in_flight: int) -> tuple[float, float]:
    """CPU µs an image of the front and of the core."""
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        front_s, core_s = runner.run(run_core(loop, images, in_flight))
    return front_s * 1e6, core_s * 1e6


def sent_together(in_flight: int) -> list[list[Message]]:
    """The messages of so many images, in the groups in which they cross."""
    numbers = range(in_flight)
    return [
        [reserve(number, [number]) for number in numbers],
        [Granted(number) for number in numbers],
        [Submit(number, SIDE, SIDE) for number in numbers],
        [Rows([Row(number, 0.001, 0.02, 8) for number in numbers])],
        [Release([number]) for number in numbers],
    ]


def codec_us(
    encode: Callable[[Message], bytes], feed: Callable[[bytes], Sequence[Message]], images: int, in_flight: int
) -> float:
    """CPU µs to encode and decode one image's messages, without a socket."""
    groups = sent_together(in_flight)
    rounds = max(1, images // in_flight)
    began_s = time.process_time()
    for _ in range(rounds):
        for group in groups:
            feed(b"".join([encode(message) for message in group]))
    return (time.process_time() - began_s) / (rounds * in_flight) * 1e6


def region_us(images: int) -> float:
    """CPU µs of an image's use of its slot: the picture at both ends, without its pixels; the row written and read."""
    region = Region.create()
    row = np.ones(CLASSES, np.float32)
    began_s = time.process_time()
    for _ in range(images):
        region.picture(3, SIDE, SIDE)
        region.picture(3, SIDE, SIDE)
        region.write_row(3, row)
        region.read_row(3, CLASSES)
    spent_s = time.process_time() - began_s
    region.close()
    return spent_s / images * 1e6


def main() -> None:
    """Medians over rounds; within a round everything is measured once."""
    parser = argparse.ArgumentParser(prog="python -m bench.wire", description=__doc__)
    parser.add_argument("--images", type=int, default=20_000, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    frames: Frames[Message] = Frames(ToCore | ToFront)
    figures: dict[str, list[float]] = {}

    def note(name: str, figure: float) -> None:
        figures.setdefault(name, []).append(figure)

    for _ in range(options.rounds):
        for loop, in_flight in itertools.product(LOOPS, IN_FLIGHT):
            front_us, core_us = exchange_us(loop, options.images, in_flight)
            note(f"{loop}, {in_flight} in flight: front", front_us)
            note(f"{loop}, {in_flight} in flight: core", core_us)
        for in_flight in IN_FLIGHT:
            note(f"msgspec alone, {in_flight}", codec_us(messages.encode, frames.feed, options.images, in_flight))
            note(f"struct alone, {in_flight}", codec_us(packed.encode, packed.feed, options.images, in_flight))
        note("region", region_us(options.images))
    print(f"{'CPU µs an image':<36}{'median':>8}{'least':>8}{'most':>8}")
    for name, found in figures.items():
        print(f"{name:<36}{statistics.median(found):8.1f}{min(found):8.1f}{max(found):8.1f}")


if __name__ == "__main__":
    main()
