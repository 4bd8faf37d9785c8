"""A short turn of the attacks that harm most: what no machine may be too slow for."""

import pytest

from tests.attacks.table import ATTACKS
from tests.attacks.trial import tried
from tests.support import fast

_SECONDS = 2.0
_CHOSEN = (
    ("exif segments", "rest"),
    ("bulk of 49 MP", "rpc"),
    ("exif warnings", "rest"),
    ("16 bit grey", "rest"),
    ("uploads", "rest"),
    ("half-sent on 60", "rpc"),
    ("large headers", "rest"),
    ("burst", "rpc"),
    ("unread log", "rest"),
    ("h2c upgrades", "rest"),
)


@pytest.mark.parametrize(("name", "face"), _CHOSEN)
def test_an_attack_leaves_the_server_as_it_was(name: str, face: str) -> None:
    fast.leave("starts a server")
    (attack,) = (attack for attack in ATTACKS if attack.name == name)
    assert tried(attack, face, _SECONDS, back_s=0).lasting_harm() == []
