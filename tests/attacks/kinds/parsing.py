"""Parsing: bodies, types and answers that take long on the event loop."""

import base64
import itertools
from collections.abc import Callable
from functools import partial

from tests.attacks.attack import MIB, Attack, Send, Target, Told, again, at_once
from tests.attacks.photos import made, number, photos
from tests.attacks.wire import senders
from tests.attacks.wire.http1 import post

_JSON_BYTES = 60 * MIB
_FORM_BYTES = 16 * MIB
_NEARLY = b"\r\n--Bxa"
_SAME = 64


def _posted(connections: int) -> Send:
    async def send(target: Target, requests: list[Callable[[], list[bytes]]], told: Told) -> None:
        """The requests in turn over so many connections."""
        turns = itertools.cycle(requests)
        await at_once(*(again(told, lambda: senders.post(target, next(turns)())) for _ in range(connections)))

    return send


def _json() -> list[Callable[[], list[bytes]]]:
    """60 MiB of JSON: base64, escapes, brackets, and a number of many digits."""
    bodies = [
        [b'{"image": "', base64.b64encode(bytes(_JSON_BYTES * 3 // 4)), b'"}'],
        [b'{"image": "', b"\\u0041" * (_JSON_BYTES // 6), b'"}'],
        [b"[" * _JSON_BYTES],
        [b'{"top_k": ', b"1" * _JSON_BYTES, b"}"],
    ]
    return [partial(post, "/classify", body, "application/json") for body in bodies]


def _boundaries() -> list[Callable[[], list[bytes]]]:
    r"""A form of 16 MiB of `\r\n--Bxa`, which is its boundary but for the end."""
    opening = b'--Bx\r\nContent-Disposition: form-data; filename="a"\r\n\r\n'
    body = [opening, _NEARLY * (_FORM_BYTES // len(_NEARLY)), b"\r\n--Bx--\r\n"]
    return [partial(post, "/classify", body, "multipart/form-data; boundary=Bx")]


def _same() -> list[Callable[[], list[bytes]]]:
    """64 equal photos, each answered with 200 classes."""

    def request() -> list[bytes]:
        photo = made(64, 64, 0) + number()
        part = b'--Bx\r\nContent-Disposition: form-data; filename="a.jpg"\r\n\r\n' + photo + b"\r\n"
        return post("/classify?top_k=200", [part * _SAME, b"--Bx--\r\n"], "multipart/form-data; boundary=Bx")

    made(64, 64, 0)
    return [request]


def _types() -> list[Callable[[], list[bytes]]]:
    """Content-Type, and the disposition of a part, of 60 KB of semicolons and odd parameters."""
    odd = [";" * 60_000, '; a="\\' * 10_000, "; a*0*=''%" * 6_000, "; a=" + '"' * 60_000]
    types = [f"{kind}{tail}" for kind in ("image/jpeg", "multipart/form-data; boundary=Bx") for tail in odd]
    photo, plain = photos()[0], "multipart/form-data; boundary=Bx"
    forms = [
        [b"--Bx\r\nContent-Disposition: form-data", tail.encode(), b'; filename="a"\r\n\r\n', photo, b"\r\n--Bx--\r\n"]
        for tail in odd
    ]
    return [
        *(partial(post, "/classify", [photo], kind) for kind in types),
        *(partial(post, "/classify", form, plain) for form in forms),
    ]


ATTACKS = [
    Attack("long JSON", ("rest",), _posted(2), _json),
    Attack("near boundaries", ("rest",), _posted(2), _boundaries),
    Attack("64 equal photos", ("rest",), _posted(2), _same),
    Attack("content types", ("rest",), _posted(4), _types),
]
