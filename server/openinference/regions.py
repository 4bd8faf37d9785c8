"""Regions: shared memory that clients on this host register, to send pixels and to get probabilities through it."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from server.errors import Code, ServingError
from server.openinference.request import RegionPart

_FOLDER = Path("/dev/shm")
_MOST_REGIONS = 1024
_OFF = "This server takes no shared memory: start it with --shared-memory PREFIX, or send tensors in the message."


@dataclass(frozen=True, slots=True)
class Region:
    """`key`: the name of the file in /dev/shm, with a slash before it as shm_open(3) has it. The region is `size_bytes`
    of it from `offset`. `file`: the descriptor of the open file.
    """

    name: str
    key: str
    offset: int
    size_bytes: int
    file: int


class Regions:
    """Runs on the event loop; `read` and `write` also in threads.

    Regions are read and written by pread and pwrite instead of being mapped: to touch a mapped page ends the process
    if the client has made the file shorter meanwhile. That costs one copy.
    """

    def __init__(self, prefix: str, folder: Path = _FOLDER) -> None:
        """Only files whose names begin with `prefix` can be registered; with an empty one, none."""
        self._prefix = prefix
        self._folder = folder
        self._regions: dict[str, Region] = {}

    @property
    def are_allowed(self) -> bool:
        return bool(self._prefix)

    def all(self) -> list[Region]:
        return list(self._regions.values())

    def get(self, name: str) -> Region:
        """Raises ServingError where there is none."""
        if not self._prefix:
            raise ServingError(Code.FORBIDDEN, _OFF)
        found = self._regions.get(name)
        if found is None:
            raise ServingError(Code.MALFORMED, f"There is no shared memory region '{name[:64]}': register it first.")
        return found

    def register(self, name: str, key: str, offset: int, size_bytes: int) -> None:
        """Raises ServingError: FORBIDDEN for a file that must not be used, MALFORMED for one that is missing or too
        short, CONFLICT where the name is taken.
        """
        if not self._prefix:
            raise ServingError(Code.FORBIDDEN, _OFF)
        file_name = key.removeprefix("/")
        if not file_name.startswith(self._prefix) or "/" in file_name or "\0" in file_name:
            raise ServingError(
                Code.FORBIDDEN,
                f"The key of a shared memory region must begin with '/{self._prefix}', without further /.",
            )
        if name in self._regions:
            raise ServingError(Code.CONFLICT, f"The shared memory region '{name[:64]}' is registered already.")
        if len(self._regions) >= _MOST_REGIONS:
            raise ServingError(Code.QUEUE_FULL, f"{_MOST_REGIONS} regions are registered: unregister some first.", 1)
        file = self._open(file_name)
        region = Region(name, key, offset, size_bytes, file)
        try:
            _check_size(region)
        except BaseException:
            os.close(file)
            raise
        self._regions[name] = region

    def unregister(self, name: str = "") -> None:
        """One region, or all of them. An unknown name is no error: whoever leaves wants it gone."""
        for gone in [name] if name else list(self._regions):
            if region := self._regions.pop(gone, None):
                os.close(region.file)

    def read(self, part: RegionPart) -> bytes:
        """Raises ServingError where the region does not have these bytes."""
        region, start = self._place(part)
        content = os.pread(region.file, part.size_bytes, start)
        if len(content) != part.size_bytes:
            raise _too_short(region)
        return content

    def write(self, part: RegionPart, content: bytes) -> None:
        """Raises ServingError where the content has no room in that part. The file is never made larger."""
        region, start = self._place(part)
        if len(content) > part.size_bytes:
            raise ServingError(
                Code.MALFORMED,
                f"The output has {len(content)} bytes, and its part of the region '{region.name}' {part.size_bytes}.",
            )
        _check_size(region)
        os.pwrite(region.file, content, start)

    def _open(self, file_name: str) -> int:
        try:
            file = os.open(self._folder / file_name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise ServingError(
                Code.MALFORMED,
                f"The shared memory '/{file_name[:64]}' cannot be opened: {os.strerror(error.errno or 0)}.",
            ) from None
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise ServingError(Code.FORBIDDEN, f"'/{file_name[:64]}' is no shared memory.")
        return file

    def _place(self, part: RegionPart) -> tuple[Region, int]:
        """The region, and where in its file the part begins."""
        region = self.get(part.region)
        if part.offset + part.size_bytes > region.size_bytes:
            raise ServingError(
                Code.MALFORMED,
                f"The region '{region.name}' has {region.size_bytes} bytes: the tensor is outside of it.",
            )
        return region, region.offset + part.offset


def _check_size(region: Region) -> None:
    if os.fstat(region.file).st_size < region.offset + region.size_bytes:
        raise _too_short(region)


def _too_short(region: Region) -> ServingError:
    return ServingError(
        Code.MALFORMED,
        f"The shared memory '{region.key}' is shorter than the region '{region.name[:64]}': make it longer.",
    )
