"""The key file is read strictly, and `new-key` writes what it reads."""

import hashlib
import re
from pathlib import Path

import pytest

from server.keys import new_key
from server.keys.key_file import KeysError, read_keys
from server.keys.keyring import Keyring
from server.keys.sources import ADMIN_TOKEN, Sources
from tests.support import keys

DIGEST = hashlib.sha256(b"a secret").hexdigest()


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "keys.toml"
    path.write_text(text)
    return path


def test_all_fields_are_read(tmp_path: Path) -> None:
    path = written(
        tmp_path, keys.table("a", rate=2.5, burst=7, quota_per_day=9, admin=True, metrics=True, models=["m"])
    )
    (key,) = read_keys(path)
    assert (key.name, key.rate, key.burst, key.quota_per_day) == ("a", 2.5, 7, 9)
    assert (key.admin, key.metrics, key.models) == (True, True, frozenset({"m"}))
    assert key.digest.hex() not in repr(key)


def test_what_is_left_out_is_no_limit_and_no_right(tmp_path: Path) -> None:
    (key,) = read_keys(written(tmp_path, keys.table("a")))
    assert (key.rate, key.burst, key.quota_per_day) == (0, 0, 0)
    assert (key.admin, key.metrics, key.models) == (False, False, None)


def test_a_burst_is_by_default_what_comes_in_a_second(tmp_path: Path) -> None:
    (key,) = read_keys(written(tmp_path, keys.table("a", rate=0.5)))
    assert key.burst == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it has no key: add a table"),
        ("key = 3", "it has no key: add a table"),
        ("[[key]]\nname = 'a'\n[[keys]]", "there is no 'keys': the file has only tables"),
        ("[[key]\n", r"at line 1, column 6\): each key is a table \[\[key\]\]"),
        ("[[key]]\nname = ''", "key 1: name must be 1 to 64 letters"),
        ("[[key]]\nname = 'a b'", "key 1: name must be"),
        (f"[[key]]\nname = '{'a' * 65}'", "key 1: name must be"),
        ("[[key]]\nsha256 = 'x'", "key 1: name must be"),
        ("[[key]]\nname = 'a'", "key 1, 'a': sha256 must be 64 hexadecimal digits"),
        ("[[key]]\nname = 'a'\nsha256 = 'abc'", "key 1, 'a': sha256 must be 64 hexadecimal digits"),
        (f"[[key]]\nname = 'a'\nsha256 = '{hashlib.sha256().hexdigest()}'", "sha256 is that of an empty secret"),
        (keys.table("a", rte=1), "key 1, 'a': there is no field 'rte': the fields are name, sha256, rate"),
        (keys.table("a", rate=-1), "rate must be a number from 0"),
        (keys.table("a", rate=True), "rate must be a number from 0"),
        ("[[key]]\nname = 'a'\nrate = nan\nsha256 = '" + DIGEST + "'", "rate must be a number from 0"),
        (keys.table("a", burst=5), "burst without rate limits nothing"),
        (keys.table("a", rate=1, burst=1.5), "burst must be a whole number"),
        (keys.table("a", quota_per_day="many"), "quota_per_day must be a whole number"),
        (keys.table("a", admin=1), "admin must be true or false"),
        (keys.table("a", models="demo"), "models must be a list of names"),
        (keys.table("a", models=[1]), "models must be a list of names"),
        (keys.table("a") + keys.table("a"), "two keys have the name 'a'"),
        (keys.table("a") + keys.table("a").replace('"a"', '"b"'), "'a' and 'b' have the same sha256"),
    ],
)
def test_what_is_wrong_is_named_with_its_cure(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(KeysError, match=message) as raised:
        read_keys(path)
    assert str(path) in str(raised.value)


def test_a_file_that_cannot_be_read_or_is_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeysError, match=r"nothing\.toml cannot be read \(No such file"):
        read_keys(tmp_path / "nothing.toml")
    (tmp_path / "bytes.toml").write_bytes(b"name = '\xff'")
    with pytest.raises(KeysError, match="byte 8 is not UTF-8"):
        read_keys(tmp_path / "bytes.toml")
    (tmp_path / "large.toml").write_bytes(bytes((4 << 20) + 1))
    with pytest.raises(KeysError, match="is it the right file"):
        read_keys(tmp_path / "large.toml")


def test_a_new_key_opens_with_the_table_that_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert new_key.main(["alice"]) == 0
    printed = capsys.readouterr()
    secret = printed.err.splitlines()[1]
    assert re.fullmatch(r"ssm_[A-Za-z0-9_-]{32}", secret)  # 32 digits of 6 bits: 192 bits
    assert secret not in printed.out
    ring = Keyring(read_keys(written(tmp_path, printed.out)))
    found = ring.find(secret)
    assert found and found.name == "alice"
    new_key.main(["alice"])
    assert capsys.readouterr().err.splitlines()[1] != secret


@pytest.mark.parametrize("arguments", [[], ["a b"], ["a", "b"]])
def test_a_name_that_cannot_be_used_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert new_key.main(arguments) == 2
    assert "usage: python -m server new-key NAME" in capsys.readouterr().err


def test_the_admin_token_is_a_key_that_may_operate(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("a token of 16 characters\n")
    for sources in (Sources(admin_token="a token of 16 characters"), Sources(admin_token_file=file)):
        key = sources.read().find("a token of 16 characters")
        assert key and (key.name, key.admin) == (ADMIN_TOKEN, True)
    file.write_text("\n")  # as in Compose, whose secrets always have a file
    assert not Sources(admin_token_file=file).read().keys
    file.write_text("short")
    with pytest.raises(KeysError, match="at least 16 characters"):
        Sources(admin_token_file=file).read()
