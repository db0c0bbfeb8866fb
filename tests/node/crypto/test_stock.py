"""What lies in stock at a contact queue: sealed for those who know the set, nothing to its relay."""

from __future__ import annotations

import hashlib
import hmac

import nacl.bindings as sodium
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey_core.errors import ProtocolViolation
from covey_core.limits import MAILBOX_BUNDLE_BYTES, MAILBOX_PREKEY_BYTES
from covey_node import crypto
from tests.node.crypto.people import NOW, Person, SeededRng

SECRET, SEND_ID = b"s" * 32, b"i" * 24
RELAY, OTHER = b"\x00\x24" + b"r" * 36, b"\x00\x24" + b"o" * 36
KEYS = crypto.StockKeys.derive(SECRET, RELAY, SEND_ID)
RNG = SeededRng("stock")
BOB = Person("bob")
BUNDLE = BOB.bundle()
(PAIR,) = crypto.new_one_time_pairs(BOB.rng, now=NOW, count=1, used=())


def test_a_stocked_bundle_and_pair_are_what_was_put_in() -> None:
    stocked = KEYS.seal_bundle(BUNDLE, RNG)
    assert len(stocked) == MAILBOX_BUNDLE_BYTES // 2
    assert KEYS.open_bundle(stocked) == BUNDLE
    pair = PAIR.public(BOB.local)
    sealed = KEYS.seal_pair(pair, RNG)
    assert len(sealed) == 1_324 <= MAILBOX_PREKEY_BYTES
    assert BUNDLE.with_one_time(KEYS.open_pair(sealed)).one_time == pair


def test_the_same_bundle_looks_different_in_each_queue_and_shows_neither_account_nor_device() -> None:
    other = crypto.StockKeys.derive(SECRET, OTHER, SEND_ID)
    one, two = KEYS.seal_bundle(BUNDLE, RNG), other.seal_bundle(BUNDLE, RNG)
    assert not any(one[at : at + 16] in two for at in range(len(one) - 16))
    for secret in (BUNDLE.account, BUNDLE.ed25519, BUNDLE.seal_key[:32], BUNDLE.signature):
        assert secret not in one


def test_stock_is_bound_to_its_queue_relay_secret_and_kind() -> None:
    stocked = KEYS.seal_bundle(BUNDLE, RNG)
    strangers = (
        crypto.StockKeys.derive(SECRET, OTHER, SEND_ID),
        crypto.StockKeys.derive(SECRET, RELAY, b"j" * 24),
        crypto.StockKeys.derive(b"t" * 32, RELAY, SEND_ID),
    )
    for keys in strangers:
        with pytest.raises(ProtocolViolation):
            keys.open_bundle(stocked)
    with pytest.raises(ProtocolViolation):
        KEYS.open_pair(stocked)
    with pytest.raises(ProtocolViolation):
        KEYS.open_bundle(KEYS.seal_pair(PAIR.public(BOB.local), RNG))


@given(data=st.binary(max_size=200))
def test_any_bytes_open_or_are_a_violation(data: bytes) -> None:
    for opened in (KEYS.open_bundle, KEYS.open_pair):
        with pytest.raises(ProtocolViolation):
            opened(data)


def test_a_reader_written_from_the_spec_opens_the_stock() -> None:
    stocked = KEYS.seal_bundle(BUNDLE, RNG)
    info = b"covey mailbox 1 stock\x00" + bytes([len(RELAY)]) + RELAY + SEND_ID
    key = _hkdf(SECRET, info)
    plain = sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(stocked[24:], SEND_ID + b"\x01", stocked[:24], key)
    assert len(plain) == 4_056
    assert plain.startswith(BUNDLE.encode() + b"\x80\x00")


def test_an_admission_secret_is_good_at_one_relay_and_gives_no_token_back() -> None:
    token = b"t" * 16
    here = crypto.admission_secret(token, RELAY)
    assert here == _hkdf(token, b"covey mailbox 1 invite token\x00" + RELAY)
    assert here != crypto.admission_secret(token, OTHER)
    assert here != crypto.admission_secret(b"u" * 16, RELAY)
    with pytest.raises(ProtocolViolation):
        crypto.admission_secret(token, b"")


def test_keys_are_not_shown() -> None:
    assert repr(KEYS) == "StockKeys()"


def _hkdf(ikm: bytes, info: bytes) -> bytes:
    extracted = hmac.digest(bytes(32), ikm, hashlib.sha256)
    return hmac.digest(extracted, info + b"\x01", hashlib.sha256)
