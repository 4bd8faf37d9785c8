"""Table: all attacks."""

from tests.attacks.kinds import decoding, headers, parsing, places, receiving, smuggling

ATTACKS = [attack for kind in (decoding, receiving, headers, parsing, places, smuggling) for attack in kind.ATTACKS]
