"""Verdict: what an attack did to the server, and which promises it broke."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.attacks.attack import MIB, Attack, Told
from tests.attacks.ordinary import Seen

ANSWERED = 0.98
SLOWEST_S = 3.0
LIVE_P99_S = 0.25
BACK_WITHIN = 0.2
LOG_BYTES = 8 * MIB  # a line for each of ten times as many requests as an attack can send
BACK_WITHIN_BYTES = 30 * MIB  # more than 20 % of a small process: what one thread's heap keeps


TRACEBACK = "Traceback (most recent call last)"


@dataclass(frozen=True)
class Sizes:
    """Resident memory before, at most meanwhile, and ten seconds later at the latest; and what was logged."""

    start_bytes: int
    peak_bytes: int
    after_bytes: int
    log_bytes: int


@dataclass(frozen=True)
class Trial:
    """One attack over one face against a server of its own.

    `unlike`: how it answers otherwise than before; `tracebacks`: in its log.
    """

    attack: Attack
    face: str
    seen: Seen
    told: Told
    sizes: Sizes
    alive: bool
    unlike: str
    tracebacks: int

    def lasting_harm(self) -> list[str]:
        """What does not depend on how fast the machine is."""
        growth = self.sizes.peak_bytes - self.sizes.start_bytes
        bugs = sorted(outcome for outcome in self.told.outcomes if is_offence(outcome, self.told))
        found = {
            "the process ended": not self.alive,
            f"afterwards {self.unlike}": bool(self.unlike),
            f"+{growth // MIB} MiB": growth > self.attack.growth_bytes,
            f"answers {', '.join(bugs)}": bool(bugs),
            f"{self.tracebacks} tracebacks": self.tracebacks > 0,
            f"a log of {self.sizes.log_bytes // MIB} MiB": self.sizes.log_bytes > LOG_BYTES,
            "no ordinary photo was answered": not self.seen.answered,
            **{f"{complaint} ({count})": True for complaint, count in self.told.complaints.items()},
        }
        return [harm for harm, is_so in found.items() if is_so]

    def passing_harm(self) -> list[str]:
        """What an ordinary client suffers, and memory that is not given back soon."""
        sizes = self.sizes
        kept = sizes.after_bytes - sizes.start_bytes
        found = {
            f"{self.seen.answered:.0%} answered": self.seen.answered < ANSWERED,
            f"slowest {self.seen.slowest_s:.1f} s": self.seen.slowest_s >= SLOWEST_S,
            f"livez {self.seen.live_p99_s * 1e3:.0f} ms": self.seen.live_p99_s >= LIVE_P99_S,
            f"keeps {kept // MIB} MiB": not is_back(sizes.start_bytes, sizes.after_bytes),
        }
        return [harm for harm, is_so in found.items() if is_so]

    def harm(self) -> list[str]:
        return [*self.lasting_harm(), *self.passing_harm()]


def is_back(start_bytes: int, now_bytes: int) -> bool:
    """Whether memory is about what it was."""
    return now_bytes - start_bytes <= max(BACK_WITHIN * start_bytes, BACK_WITHIN_BYTES)


def is_offence(outcome: str, told: Told) -> bool:
    return told.outcomes[outcome] > 0 and Told(Counter({outcome: 1})).bugs() > 0


HEADINGS = ("attack", "face", "answered", "slowest s", "livez ms", "MiB: start", "peak", "after", "attacker's", "harm")


def row(trial: Trial) -> Sequence[str]:
    seen, sizes = trial.seen, trial.sizes
    return (
        trial.attack.name,
        trial.face,
        f"{seen.answered:.1%}",
        f"{seen.slowest_s:.2f}",
        f"{seen.live_p99_s * 1e3:.0f}",
        *(str(size // MIB) for size in (sizes.start_bytes, sizes.peak_bytes, sizes.after_bytes)),
        brief(trial.told.outcomes),
        "; ".join(trial.harm()) or "none",
    )


def brief(outcomes: Counter[str]) -> str:
    return " ".join(f"{name.replace(' ', ':')}={count}" for name, count in outcomes.most_common(5)) or "-"


def line(cells: Iterable[str]) -> str:
    widths = (17, 4, 8, 9, 8, 10, 5, 5, 44, 0)
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
