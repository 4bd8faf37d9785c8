"""Target: what an alias stands for: one version of a model, or several that share its callers, and a shadow."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

MOST_VERSIONS = 4
_PER_CENT = 100.0
_DOUBT = 1e-6  # of a sum of weights that are no whole numbers


@dataclass(frozen=True, slots=True)
class Share:
    """A version, and the per cent of the callers that it answers."""

    version: str
    weight: float


@dataclass(frozen=True, slots=True)
class Target:
    """Without `version` and `versions` it is the newest version that is ready.

    `versions`: two to four that share the callers; their weights are per cent. `shadow`: a version that gets copies of
    photos and answers nobody; "": none. Raises ValueError for what no alias can stand for; its message says why.
    """

    model: str
    version: str = ""
    versions: tuple[Share, ...] = ()
    shadow: str = ""

    def __post_init__(self) -> None:
        if self.version and self.versions:
            raise ValueError("give either version or versions")
        if self.versions:
            _check_shares(self.versions)
        if self.shadow and not _is_number(self.shadow):
            raise ValueError(f"the shadow must be the number of a version, not {self.shadow[:20]!r}")
        if self.shadow and self.shadow in self.answering:
            raise ValueError(f"version {self.shadow} cannot be the shadow of itself")

    @property
    def answering(self) -> tuple[str, ...]:
        """The versions that it names to answer; () where that is the newest."""
        return tuple(share.version for share in self.versions) or ((self.version,) if self.version else ())

    @property
    def main(self) -> str:
        """The version with most callers, of equal ones the first; "" where that is the newest."""
        return max(self.versions, key=lambda share: share.weight).version if self.versions else self.version

    def preferred(self, alias: str, identity: str) -> list[str]:
        """The versions of `versions`, the one that answers this caller first, then those that stand in for it.

        Each version draws for each caller a number that never changes, exponentially distributed with its weight as the
        rate, and the smallest wins (rendezvous hashing: Thaler and Ravishankar, IEEE/ACM Transactions on Networking 6,
        1998). So callers keep their version while the weights stay; a larger weight only brings callers to its version,
        and takes none from it.
        """
        return [each.version for each in sorted(self.versions, key=lambda each: _draw(alias, identity, each))]

    def to_json(self) -> dict[str, Any]:
        """As in `aliases.json` and in answers. `from_json` reads it."""
        shadow = {"shadow": self.shadow} if self.shadow else {}
        if not self.versions:
            return {"model": self.model, "version": self.version, **shadow}
        shares = [{"version": share.version, "weight": share.weight} for share in self.versions]
        return {"model": self.model, "versions": shares, **shadow}


def from_json(parsed: Mapping[str, Any]) -> Target:
    """Raises KeyError, TypeError, AttributeError or ValueError for what is no target."""
    shares = tuple(Share(str(share["version"]), share["weight"]) for share in parsed.get("versions", ()))
    return Target(str(parsed["model"]), str(parsed.get("version", "")), shares, str(parsed.get("shadow", "")))


def _check_shares(shares: tuple[Share, ...]) -> None:
    names = [share.version for share in shares]
    if not 2 <= len(shares) <= MOST_VERSIONS:
        raise ValueError(f"versions must be 2 to {MOST_VERSIONS} versions with their weights, not {len(shares)}")
    if unnumbered := [name for name in names if not _is_number(name)]:
        raise ValueError(f"each of versions must be the number of a version, not {unnumbered[0][:20]!r}")
    if len(set(names)) < len(names):
        raise ValueError("versions must differ: one is named twice")
    for share in shares:
        if isinstance(share.weight, bool) or not isinstance(share.weight, int | float) or not 0 < share.weight < 100:
            raise ValueError(f"the weight of version {share.version} must be above 0 and below 100 per cent")
    total = math.fsum(share.weight for share in shares)
    if abs(total - _PER_CENT) > _DOUBT:
        raise ValueError(f"the weights are per cent and must add up to 100, not {total:g}")


def _is_number(version: str) -> bool:
    return version.isascii() and version.isdecimal()


def _draw(alias: str, identity: str, share: Share) -> float:
    """Exponentially distributed with the weight as its rate, always the same for the same alias, caller and version."""
    digest = blake2b("\0".join((alias, share.version, identity)).encode("utf-8", "replace"), digest_size=8).digest()
    uniform = ((int.from_bytes(digest, "big") >> 11) + 0.5) * 2.0**-53  # between 0 and 1, never one of them
    return -math.log(uniform) / share.weight
