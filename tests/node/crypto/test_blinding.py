"""Blinded record keys: signatures that anybody can check, days that nobody else can link."""

from __future__ import annotations

import nacl.bindings as sodium
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.exceptions import BadSignatureError

from covey_core.errors import ProtocolViolation
from covey_node import crypto
from covey_node.crypto.primitives import check_ed25519
from tests.node.crypto.people import NOW, SeededRng, flipped
from tests.node.crypto.test_primitives import NON_CANONICAL_ED25519, SMALL_ORDER_ED25519

KEYS = crypto.RecordKeys.generate(SeededRng("record"))
DAY = crypto.day_of(NOW)


@given(st.integers(min_value=0, max_value=100_000), st.binary(max_size=100))
def test_a_record_signature_is_plain_ed25519_under_the_days_key(day: int, message: bytes) -> None:
    signature = KEYS.sign(day, message)
    key = KEYS.share.blinded_key(day)
    assert sodium.crypto_sign_open(signature + message, check_ed25519(key)) == message
    for wrong in (KEYS.share.blinded_key(day + 1), KEYS.share.public):
        with pytest.raises(BadSignatureError):
            sodium.crypto_sign_open(signature + message, wrong)


def test_a_contact_finds_the_days_key_from_its_share_and_nobody_else_does() -> None:
    share = crypto.RecordShare.decode(KEYS.share.encode())
    assert share == KEYS.share
    assert share.blinded_key(DAY) == KEYS.share.blinded_key(DAY)
    assert len({share.blinded_key(DAY + n) for n in range(5)}) == 5
    stranger = crypto.RecordShare(KEYS.share.public, bytes(32))
    assert stranger != share
    assert stranger.blinded_key(DAY) != share.blinded_key(DAY)


def test_two_signatures_never_share_a_nonce_unless_they_are_one() -> None:
    commitments = {KEYS.sign(day, message)[:32] for day in (DAY, DAY + 1) for message in (b"one", b"two")}
    assert len(commitments) == 4
    assert KEYS.sign(DAY, b"one") == KEYS.sign(DAY, b"one")


def test_a_record_opens_for_a_contact_on_its_day_only() -> None:
    sealed = KEYS.share.seal(DAY, b"content", SeededRng("seal"))
    assert len(sealed) == len(b"content") + 40
    assert KEYS.share.open(DAY, sealed) == b"content"
    stranger = crypto.RecordShare(KEYS.share.public, bytes(32))
    for share, day, data in (
        (KEYS.share, DAY + 1, sealed),
        (stranger, DAY, sealed),
        (KEYS.share, DAY, flipped(sealed, 30)),
        (KEYS.share, DAY, sealed[:10]),
        (KEYS.share, DAY, sealed[:30]),
        (KEYS.share, DAY, b""),
    ):
        with pytest.raises(crypto.Undecryptable):
            share.open(day, data)


@pytest.mark.parametrize("point", SMALL_ORDER_ED25519 + NON_CANONICAL_ED25519)
def test_a_share_with_a_key_outside_the_group_is_refused(point: str) -> None:
    with pytest.raises(crypto.KeyRefused):
        crypto.RecordShare.decode(bytes.fromhex(point) + bytes(32))


def test_shares_and_keys_survive_their_encoding_and_damage_is_noticed() -> None:
    again = crypto.RecordKeys.decode(KEYS.encode())
    assert again.sign(DAY, b"m") == KEYS.sign(DAY, b"m")
    with pytest.raises(ProtocolViolation):
        crypto.RecordShare.decode(KEYS.share.encode() + b"x")
    for data in (b"", KEYS.encode()[:-1], KEYS.encode() + b"x", b"\x02" + KEYS.encode()[1:]):
        with pytest.raises(crypto.StateDamaged):
            crypto.RecordKeys.decode(data)


def test_days_are_utc_days() -> None:
    assert crypto.day_of(86_399.9) == 0
    assert crypto.day_of(86_400) == 1
