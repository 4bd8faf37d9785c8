"""Mutations: bytes that are nearly a photo, a form, a JSON text or a message. The same seed makes the same ones."""

import random
from collections.abc import Callable, Sequence

_MAGIC = (
    b"\xff\xd8\xff\xe1",
    b"\xff\xda",
    b"\xff\xc2",
    b"\xff\x00",
    b"\xff\xd9",
    b"Exif\x00\x00MM\x00*",
    b"\x89PNG\r\n\x1a\n",
    b"IHDR",
    b"IDAT",
    b"eXIf",
    b"acTL",
    b"tRNS",
    b"iCCP",
    b"RIFF",
    b"WEBP",
    b"VP8X",
    b"ANIM",
    b"ICCP",
    b"GIF89a",
    b"\r\n\r\n",
    b"--Bx",
    b'{"',
    b"[[",
    b"\\ud800",
    b"%00",
    b"\x00",
)
_LENGTHS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


class Mutator:
    """Changes bytes a little, in one to four ways."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self._ways: Sequence[Callable[[bytearray], None]] = (
            self._flip,
            self._flip,
            self._overwrite,
            self._cut,
            self._repeat,
            self._insert,
            self._length,
            self._length,
            self._end,
        )

    def mutated(self, content: bytes, other: bytes = b"") -> bytes:
        """`other`: now and then its end takes the place of the content's."""
        changed = bytearray(content)
        if other and self.random.random() < 0.1:
            changed[self._at(changed) :] = other[self._at(other) :]
        for _ in range(self.random.choice((1, 1, 2, 3, 4))):
            self.random.choice(self._ways)(changed)
        return bytes(changed)

    def _at(self, content: bytes | bytearray) -> int:
        """Anywhere; every other time within the first 64 bytes, where headers are."""
        near = self.random.random() < 0.5
        return self.random.randrange(1 + (min(len(content), 64) if near else len(content)))

    def _flip(self, content: bytearray) -> None:
        for _ in range(self.random.randint(1, 8)):
            if content:
                at = min(self._at(content), len(content) - 1)
                content[at] ^= 1 << self.random.randrange(8)

    def _overwrite(self, content: bytearray) -> None:
        at, length = self._at(content), self.random.randint(1, 16)
        content[at : at + length] = self.random.randbytes(length)

    def _cut(self, content: bytearray) -> None:
        at = self._at(content)
        del content[at : at + self.random.randint(1, 64)]

    def _repeat(self, content: bytearray) -> None:
        at = self._at(content)
        content[at:at] = content[at : at + self.random.randint(1, 64)] * self.random.choice((1, 2, 8, 64))

    def _insert(self, content: bytearray) -> None:
        at = self._at(content)
        content[at:at] = self.random.choice(_MAGIC)

    def _length(self, content: bytearray) -> None:
        at, width = self._at(content), self.random.choice((1, 2, 4))
        value = self.random.choice(_LENGTHS) & ((1 << 8 * width) - 1)
        content[at : at + width] = value.to_bytes(width, self.random.choice(("big", "little")))

    def _end(self, content: bytearray) -> None:
        del content[self._at(content) :]
