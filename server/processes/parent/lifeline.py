"""Lifeline: a child's socket to its parent. The instructions come over it, and signs of life go back."""

import asyncio
import contextlib
import os
import select
import socket
import struct
import threading
from typing import NoReturn

from server.processes.parent import prctl

BEAT, READY = b".", b"r"  # signs of life, before and after `Lifeline.ready`
HEADER = struct.Struct("<III")  # the parent's pid, how often it started this child again, and the length of the
# instructions, which follow
PARENT_GONE = 71  # exit code; sysexits.h calls it EX_OSERR

_BEAT_S = 1.0


class NotAChild(Exception):
    """This process was not started by a parent of this server. The message says what to start instead."""


class Lifeline:
    """The child's end. It sends a byte a second, and ends the process at once when the parent is gone.

    A daemon thread sends the bytes until `follow` names an event loop.
    """

    def __init__(self, parent: socket.socket) -> None:
        self.restarts = 0
        """How often the parent has started this child again."""
        self._parent = parent
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_owes_beat = False
        self._sign = BEAT

    @classmethod
    def attach(cls) -> tuple["Lifeline", bytes]:
        """Take over standard input, which the parent made a lifeline; returns the instructions too. Call it first.

        Standard input is empty afterwards, so that no process that this one starts can hold the lifeline open.
        Raises NotAChild.
        """
        prctl.die_with_parent()
        try:
            parent = socket.socket(fileno=os.dup(0))
        except OSError as error:
            raise NotAChild("fronts and the core are started by `python -m server --fronts N`: start that") from error
        with open(os.devnull) as nothing:
            os.dup2(nothing.fileno(), 0)
        lifeline = cls(parent)
        pid, lifeline.restarts, size = HEADER.unpack(lifeline._read(HEADER.size))
        if os.getppid() != pid:  # it ended before this process asked to die with it
            _end_process()
        instructions = lifeline._read(size)
        parent.setblocking(False)
        threading.Thread(target=lifeline._beat_for_ever, name="lifeline", daemon=True).start()
        return lifeline, instructions

    def ready(self) -> None:
        """Tell the parent that this process does its work now. From then on it is restarted, whatever it dies of."""
        self._sign = READY  # said again each second: one byte may be lost
        self._send()

    def follow(self, loop: asyncio.AbstractEventLoop) -> None:
        """Send signs of life only while this event loop turns, until it is closed. Any thread may call this."""
        self._loop = loop

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            if not (more := self._parent.recv(size - len(data))):
                _end_process()
            data += more
        return data

    def _beat_for_ever(self) -> None:  # the lifeline's thread
        poll = select.poll()
        poll.register(self._parent, select.POLLIN)
        while True:
            if poll.poll(_BEAT_S * 1000) and not self._hears():
                _end_process()
            self._beat()

    def _hears(self) -> bool:
        try:
            return bool(self._parent.recv(64))
        except BlockingIOError:
            return True
        except OSError:  # reset: the parent died before it read all bytes
            return False

    def _beat(self) -> None:  # the lifeline's thread
        loop = self._loop
        if loop is None or loop.is_closed():
            self._send()
        elif not self._loop_owes_beat:
            self._loop_owes_beat = True
            with contextlib.suppress(RuntimeError):  # closed just now
                loop.call_soon_threadsafe(self._beat_from_loop)

    def _beat_from_loop(self) -> None:  # the event loop
        self._loop_owes_beat = False
        self._send()

    def _send(self) -> None:
        """A parent that was stopped reads nothing and the socket is full; one that is gone is noticed by the thread."""
        with contextlib.suppress(OSError):
            self._parent.send(self._sign)


def _end_process() -> NoReturn:
    os._exit(PARENT_GONE)
