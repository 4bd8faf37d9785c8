"""A fake `cuda.core` that needs no GPU: the part that this project uses, in the host's memory.

Streams are lazy: work is done only when something waits for it, and no more than that needs. Code that forgets to order
two streams, or that reads too early, gets wrong bytes.
"""

import ctypes
import sys
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

Work = Callable[[], None]


class CUDAError(Exception):
    pass


class Stream:
    """A queue of work. While a stream captures, it collects work for a graph instead."""

    by_handle: ClassVar[dict[int, Any]] = {}

    def __init__(self) -> None:
        self.queue: list[Work | Event] = []
        self.captured: list[Work] | None = None
        self.handle = 1000 + len(self.by_handle)
        self.by_handle[self.handle] = self

    def put(self, work: Work) -> None:
        if self.captured is not None:
            self.captured.append(work)
        else:
            self.queue.append(work)

    def record(self, event: "Event | None" = None, options: "EventOptions | None" = None) -> "Event":
        event = Event(self)
        self.queue.append(event)
        return event

    def wait(self, event_or_stream: "Event") -> None:
        self.put(event_or_stream.sync)

    def sync(self) -> None:
        while self.queue:
            self.step()

    def step(self) -> None:
        work = self.queue.pop(0)
        if isinstance(work, Event):
            work.is_done = True
        else:
            if cuda.broken:
                raise CUDAError("CUDA_ERROR_ILLEGAL_ADDRESS")
            work()

    def create_graph_builder(self) -> "GraphBuilder":
        return GraphBuilder(self)


class Event:
    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.is_done = False

    def sync(self) -> None:
        while not self.is_done:
            self.stream.step()


@dataclass
class EventOptions:
    blocking_sync: bool = False


class GraphBuilder:
    def __init__(self, stream: Stream) -> None:
        self.stream = stream

    def begin_building(self, mode: str) -> "GraphBuilder":
        if not cuda.graphs:
            raise CUDAError("CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED")
        self.stream.captured = []
        return self

    def end_building(self) -> "GraphBuilder":
        self.works, self.stream.captured = self.stream.captured, None
        return self

    def complete(self) -> "Graph":
        return Graph(self.works or [])


class Graph:
    def __init__(self, works: list[Work]) -> None:
        self.works = works

    def upload(self, stream: Stream) -> None:
        pass

    def launch(self, stream: Stream) -> None:
        cuda.launched += 1
        for work in self.works:
            stream.put(work)


class Buffer:
    """Host memory, in the place of memory on either side."""

    def __init__(self, handle: int, size: int, owner: Any) -> None:
        self.handle, self.size, self._owner = handle, size, owner

    @classmethod
    def of(cls, size: int) -> "Buffer":
        cuda.allocated += size
        memory = (ctypes.c_uint8 * size)()
        buffer = cls(ctypes.addressof(memory), size, memory)
        weakref.finalize(buffer, _freed, size)
        return buffer

    @staticmethod
    def from_handle(ptr: int, size: int, owner: object) -> "Buffer":
        return Buffer(ptr, size, owner)

    def copy_to(self, dst: "Buffer", stream: Stream) -> None:
        assert self.size == dst.size

        def copy() -> None:
            ctypes.memmove(dst.handle, self.handle, dst.size)

        stream.put(copy)


def _freed(size: int) -> None:
    """Runs in the thread that frees the memory."""
    cuda.allocated -= size
    cuda.freed_on.append(Device.current())


class LegacyPinnedMemoryResource:
    def allocate(self, size: int) -> Buffer:
        return Buffer.of(size)


class Device:
    """The current device is a setting of each thread."""

    _of_thread = threading.local()

    def __init__(self, index: int) -> None:
        self.device_id = index
        self.name = cuda.names[index]
        self.compute_capability = (9, 0)
        self.properties = SimpleNamespace(multiprocessor_count=132)

    @staticmethod
    def get_all_devices() -> "tuple[Device, ...]":
        return tuple(Device(index) for index in range(len(cuda.names)))

    def set_current(self) -> None:
        Device._of_thread.index = self.device_id

    @classmethod
    def current(cls) -> int | None:
        return getattr(cls._of_thread, "index", None)

    def create_stream(self) -> Stream:
        return Stream()

    def allocate(self, size: int, stream: Stream) -> Buffer:
        if size > cuda.memory_bytes:
            raise CUDAError("CUDA_ERROR_OUT_OF_MEMORY")
        return Buffer.of(size)


@dataclass
class Cuda:
    """What tests set and read."""

    names: list[str] = field(default_factory=lambda: ["NVIDIA H200"])
    driver: tuple[int, int] = (13, 1)
    memory_bytes: int = 1 << 34
    graphs: bool = True
    broken: bool = False
    launched: int = 0
    allocated: int = 0
    freed_on: list[int | None] = field(default_factory=list)  # the current GPU of each thread that freed memory


cuda = Cuda()


def module() -> ModuleType:
    """A module to put in the place of `cuda.core`, with a fresh state."""
    cuda.__dict__.update(Cuda().__dict__)
    fake = ModuleType("cuda.core")
    fake.__spec__ = ModuleSpec("cuda.core", None)
    names = ("Buffer", "Device", "Event", "EventOptions", "LegacyPinnedMemoryResource", "Stream")
    for name in names:
        setattr(fake, name, getattr(sys.modules[__name__], name))
    fake.system = SimpleNamespace(get_user_mode_driver_version=lambda: cuda.driver)  # type: ignore[attr-defined]
    return fake
