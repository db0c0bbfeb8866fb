"""The wrapped database key: the right secret opens it, everything else is told apart."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covey_node import crypto
from tests.node.crypto.people import SeededRng, flipped

RNG = SeededRng("at rest")
KEY = crypto.new_database_key(RNG)
CHEAP = {"operations": 1, "memory_bytes": 8_192}
BY_PASSPHRASE = crypto.wrap_with_passphrase(KEY, "cafe\u0301 au lait", RNG, **CHEAP)
SECRET = RNG(32)
BY_SECRET = crypto.wrap_with_secret(KEY, SECRET, RNG)


def test_the_right_passphrase_opens_the_key_however_its_accents_are_typed() -> None:
    assert crypto.unwrap(BY_PASSPHRASE, passphrase="cafe\u0301 au lait") == KEY
    assert crypto.unwrap(BY_PASSPHRASE, passphrase="caf\u00e9 au lait") == KEY
    assert len(BY_PASSPHRASE) == 107
    assert crypto.needs_passphrase(BY_PASSPHRASE)


def test_a_wrong_passphrase_or_none_is_said_to_be_wrong() -> None:
    for passphrase in ("cafe au lait", "", None):
        with pytest.raises(crypto.WrongSecret):
            crypto.unwrap(BY_PASSPHRASE, passphrase=passphrase, secret=SECRET)


def test_a_secret_file_opens_the_key_and_another_does_not() -> None:
    assert crypto.unwrap(BY_SECRET, secret=SECRET) == KEY
    assert len(BY_SECRET) == 99
    assert not crypto.needs_passphrase(BY_SECRET)
    for secret in (bytes(32), SECRET + b"\n", SECRET[:31], b"", None):
        with pytest.raises(crypto.WrongSecret):
            crypto.unwrap(BY_SECRET, passphrase="x", secret=secret)
    with pytest.raises(crypto.WrongSecret):
        crypto.wrap_with_secret(KEY, b"too short", RNG)


def test_the_usual_costs_are_those_of_the_limits() -> None:
    wrapped = crypto.wrap_with_passphrase(KEY, "x", RNG)
    assert int.from_bytes(wrapped[11:15], "big") >= 3
    assert int.from_bytes(wrapped[15:19], "big") >= 64 * 1024 * 1024
    assert crypto.unwrap(wrapped, passphrase="x") == KEY


@settings(max_examples=50)
@given(st.integers(min_value=0, max_value=106), st.integers(min_value=0, max_value=7))
def test_a_wrap_with_any_bit_changed_does_not_open(at: int, bit: int) -> None:
    for wrapped, secrets in ((BY_PASSPHRASE, {"passphrase": "x"}), (BY_SECRET, {"secret": SECRET})):
        costs = range(11, 19)
        if at < len(wrapped) and not (wrapped is BY_PASSPHRASE and at in costs):
            with pytest.raises((crypto.WrongSecret, crypto.WrapDamaged)):
                crypto.unwrap(flipped(wrapped, at, bit), **secrets)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("operations", "memory"), [(0, 8_192), (33, 8_192), (1, 100), (1, 2**31), (2**32 - 1, 2**32 - 1)]
)
def test_a_damaged_wrap_cannot_ask_for_all_memory_or_no_work(operations: int, memory: int) -> None:
    wrapped = BY_PASSPHRASE[:11] + operations.to_bytes(4, "big") + memory.to_bytes(4, "big") + BY_PASSPHRASE[19:]
    with pytest.raises(crypto.WrapDamaged):
        crypto.unwrap(wrapped, passphrase="x")


@given(st.binary(max_size=120))
def test_any_bytes_open_or_are_told_apart(data: bytes) -> None:
    for wrapped in (data, BY_SECRET[:11] + data, b"covey-key\x01" + data[:3]):
        with pytest.raises((crypto.WrapDamaged, crypto.WrongSecret)):
            crypto.unwrap(wrapped, secret=SECRET)
