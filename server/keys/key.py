"""Key: one client of the server, and what it may do."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Key:
    """`digest`: SHA-256 of the secret, 32 bytes; nobody here knows the secret itself.

    `rate`: images a second, 0 for no limit; `burst`: most images at once. `quota_per_day`: images from midnight to
    midnight UTC, 0 for no limit. `models`: the names of those that it may use; None: all.
    """

    name: str
    digest: bytes = field(repr=False)
    rate: float = 0.0
    burst: int = 0
    quota_per_day: int = 0
    admin: bool = False
    metrics: bool = False
    models: frozenset[str] | None = None
