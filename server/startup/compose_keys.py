"""Compose keys: builds what knows the API keys, and connects it."""

from dataclasses import dataclass

from server.keys.access import Access
from server.keys.key_watch import KeyWatch
from server.keys.ledger import Ledger
from server.keys.sources import Sources
from server.metrics import Metrics
from server.scheduling.key_callers import KeyCallers
from server.settings import Settings


@dataclass(frozen=True)
class Keys:
    """`watch` is None where no file is to be looked at."""

    access: Access
    callers: KeyCallers
    watch: KeyWatch | None


def sources(settings: Settings) -> Sources:
    return Sources(settings.keys, settings.admin_token, settings.admin_token_file)


def compose_keys(settings: Settings, metrics: Metrics, admits: bool) -> Keys:
    """`admits`: whether this process admits images, and so has the keys' accounts. Raises KeysError."""
    watch = KeyWatch(sources(settings))
    access = Access(watch.ring, need_key=settings.keys is not None)
    watch.tell(access.take_over)
    ledger = None
    if admits and settings.keys:
        ledger = Ledger(watch.ring, metrics.key_quota_left, watch.look_at_once)
        watch.tell(ledger.take_over)
    watched = watch if settings.keys or settings.admin_token_file else None
    return Keys(access, KeyCallers(ledger), watched)
