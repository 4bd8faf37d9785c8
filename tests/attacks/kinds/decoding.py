"""Decoding: pictures that cost the decoder much time or memory."""

import itertools

from server.pb.sesame.v1 import classifier_pb2 as pb
from tests.attacks.attack import Attack, Send, Target, Told, again, at_once
from tests.attacks.photos import number
from tests.attacks.wire import pictures, senders
from tests.attacks.wire.http1 import post

_BOTH = ("rest", "rpc")
_BULK_IMAGES = 64


def _sent(connections: int) -> Send:
    async def send(target: Target, photos: list[bytes], told: Told) -> None:
        """The pictures in turn over so many connections, each connection one after another."""
        turns = itertools.cycle(photos)
        await at_once(*(again(told, lambda: senders.ask(target, next(turns))) for _ in range(connections)))

    return send


async def bulk(target: Target, photos: list[bytes], told: Told) -> None:
    """64 different PNGs of 95 KB and 49 million pixels in one request of priority=bulk, again and again."""

    async def rest() -> str:
        parts = [b"".join((_PART, photos[0], number(), b"\r\n")) for _ in range(_BULK_IMAGES)]
        form = post("/classify?priority=bulk", [*parts, b"--Bx--\r\n"], "multipart/form-data; boundary=Bx")
        return await senders.post(target, form)

    async def rpc() -> str:
        async with senders.stub(target) as client:
            stream = client.ClassifyStream()
            for _ in range(_BULK_IMAGES):
                await stream.write(pb.ClassifyRequest(image=photos[0] + number(), priority=pb.BULK))
            await stream.done_writing()
            async for answer in stream:
                told.outcomes[f"item {answer.error.code or 'OK'}"] += 1
            return "OK"

    await again(told, rest if target.face == "rest" else rpc)


_PART = b'--Bx\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'

ATTACKS = [
    Attack("exif segments", _BOTH, _sent(2), lambda: [pictures.exif_segments()]),
    Attack("comments", _BOTH, _sent(2), lambda: [pictures.comments()]),
    Attack("escapes", _BOTH, _sent(2), lambda: [pictures.escapes_in_header(), pictures.escapes_in_pixels()]),
    Attack("png chunks", _BOTH, _sent(2), lambda: [pictures.png_chunks()]),
    Attack("exif rationals", _BOTH, _sent(2), lambda: [pictures.exif_rationals()]),
    Attack("exif overlaps", _BOTH, _sent(4), lambda: [pictures.exif_overlaps()]),
    Attack("exif warnings", _BOTH, _sent(2), lambda: [pictures.exif_warnings()]),
    Attack("16 bit grey", _BOTH, _sent(4), lambda: [pictures.grey16()]),
    Attack("bulk of 49 MP", _BOTH, bulk, lambda: [pictures.grey_alpha()]),
    Attack("90 scans", _BOTH, _sent(4), lambda: [pictures.scans()]),
]
