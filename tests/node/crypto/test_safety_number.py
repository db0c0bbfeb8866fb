"""Safety numbers against libsignal's published vector."""

from __future__ import annotations

from covey_node import crypto
from covey_node.crypto.safety_number import numeric_fingerprint
from tests.node.crypto.people import Person

# libsignal, rust/protocol/src/fingerprint.rs, tests: identity keys with their type byte, phone numbers as identifiers.
ALICE = (bytes.fromhex("0506863bc66d02b40d27b8d49ca7c09e9239236f9d7d25d6fcca5ce13c7064d868"), b"+14152222222")
BOB = (bytes.fromhex("05f781b6fb32fed9ba1cf2de978d4d5da28dc34046ae814402b5c0dbd96fda907b"), b"+14153333333")
PUBLISHED = "300354477692869396892869876765458257569162576843440918079131"


def test_libsignals_vector_comes_out_whoever_asks() -> None:
    assert numeric_fingerprint(ALICE, BOB) == PUBLISHED
    assert numeric_fingerprint(BOB, ALICE) == PUBLISHED


def test_two_accounts_have_one_number_of_60_digits_and_others_have_another() -> None:
    alice, bob, eve = (Person(name).account.public_key for name in ("alice", "bob", "eve"))
    number = crypto.safety_number(alice, bob)
    assert len(number) == 60
    assert number.isdigit()
    assert crypto.safety_number(bob, alice) == number
    assert crypto.safety_number(alice, eve) != number
    assert number == numeric_fingerprint((alice, alice), (bob, bob))
