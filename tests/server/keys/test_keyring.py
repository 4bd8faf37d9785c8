"""A secret is compared with every digest, and where it is in a request."""

import hashlib
import hmac

import pytest

from server.keys.key import Key
from server.keys.keyring import Keyring, secret_of
from tests.support.keys import secret

NAMES = ("a", "b", "c", "d")


class CountingCompare:
    """`hmac.compare_digest` that counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, one: bytes, other: bytes) -> bool:
        self.calls += 1
        assert len(one) == len(other) == 32
        return hmac.compare_digest(one, other)


def ring(compare: CountingCompare) -> Keyring:
    return Keyring([Key(name, hashlib.sha256(secret(name).encode()).digest()) for name in NAMES], compare)


@pytest.mark.parametrize("given", [*map(secret, NAMES), "", "wrong", "ssm_", "ß" * 9, "\x00", "x" * 100_000])
def test_all_digests_are_compared_whatever_matches(given: str) -> None:
    compare = CountingCompare()
    found = ring(compare).find(given)
    assert compare.calls == len(NAMES)
    assert (found.name if found else None) == next((name for name in NAMES if secret(name) == given), None)


def test_characters_that_no_header_has_are_no_key() -> None:
    assert ring(CountingCompare()).find("ключ") is None


@pytest.mark.parametrize(
    ("authorization", "api_key", "expected"),
    [
        (None, None, ""),
        ("Bearer s", None, "s"),
        ("bearer  s ", None, "s"),
        ("Basic s", None, ""),
        ("s", None, ""),
        ("Bearer", None, ""),
        (None, " s ", "s"),
        ("Bearer other", "s", "s"),
        ("Basic other", "s", "s"),
        ("Bearer s", " ", "s"),
    ],
)
def test_where_the_secret_is(authorization: str | None, api_key: str | None, expected: str) -> None:
    assert secret_of(authorization, api_key) == expected
