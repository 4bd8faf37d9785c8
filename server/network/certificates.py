"""Certificates: the newest usable key pair of the files, for both faces. Renewed files are taken as they come."""

import asyncio
import logging
import time

from server.network.key_pair import KeyPair, TlsError, TlsFiles, date, read_key_pair

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0
_TRY_AGAIN_S = 30.0  # files that are unchanged and were refused: only time can make them right
_SOON_S = 7 * 86_400.0

_Stamp = tuple[tuple[int, ...], ...]


class Certificates:
    """`newest` may be read on any thread: gRPC's read it. `look` runs in one thread at a time."""

    def __init__(self, files: TlsFiles) -> None:
        """Raises TlsError."""
        self._files = files
        self._stamp = self._stamp_now()
        self.newest: KeyPair = read_key_pair(files)
        self._refused: _Stamp | None = None  # files that could not be used, as they were last seen
        self._warned: _Stamp | None = None
        self._try_again_s = 0.0
        self._warned_of: KeyPair | None = None
        log.info("TLS: the certificate is valid until %s", date(self.newest.until_s))
        self._warn_of_the_end()

    async def keep(self) -> None:
        """Look for renewed files, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Take the files if they have changed and can be used; else keep what there is. Reads files."""
        stamp = self._stamp_now()
        if stamp != self._stamp and (stamp != self._warned or time.monotonic() >= self._try_again_s):
            self._renew(stamp)
        self._warn_of_the_end()

    def _renew(self, stamp: _Stamp) -> None:
        try:
            pair = read_key_pair(self._files)
            why = pair.complaint()
            if why and not self.newest.complaint():
                raise TlsError(f"{self._files.certificate}: {why}")
        except TlsError as error:
            return self._refuse(stamp, error)
        self._stamp, self.newest = stamp, pair
        self._refused = self._warned = None
        log.info("TLS: renewed; the certificate is valid until %s", date(pair.until_s))
        return None

    def _refuse(self, stamp: _Stamp, error: TlsError) -> None:
        """Warn where nothing has changed since the last look: somebody may have been writing the files then."""
        if stamp == self._refused and stamp != self._warned:
            log.warning("TLS: the renewed files are not used, and the old certificate stays: %s", error)
            self._warned = stamp
        self._refused = stamp
        self._try_again_s = time.monotonic() + _TRY_AGAIN_S

    def _warn_of_the_end(self) -> None:
        pair = self.newest
        if pair is self._warned_of or (time.time() < pair.until_s - _SOON_S and not pair.complaint()):
            return
        self._warned_of = pair
        why = pair.complaint() or f"the certificate expires on {date(pair.until_s)}: renew it"
        log.warning("TLS: %s; new files are taken without a restart", why)

    def _stamp_now(self) -> _Stamp:
        """Differs when a file was replaced or written."""
        paths = (self._files.certificate, self._files.key, self._files.client_ca)
        stamps = []
        for path in paths:
            try:
                found = path.stat() if path else None
            except OSError:
                found = None
            stamps.append((found.st_ino, found.st_mtime_ns, found.st_size, found.st_dev) if found else ())
        return tuple(stamps)
