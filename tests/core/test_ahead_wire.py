"""What goes over the wire about records signed ahead, and which ones a relay may take."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from covey_core import limits
from covey_core.errors import ProtocolViolation
from covey_core.identity import Identity
from covey_core.records import (
    RECORD_MAX_BYTES,
    ContactRecord,
    decode_record,
    encode_record,
    record_key,
    signed_part,
    verify_record,
)
from covey_core.wire.ahead import (
    AheadAnswer,
    AheadOutcome,
    Leave,
    Withdraw,
    begin_of,
    decode_answer,
    decode_request,
    encode_answer,
    encode_request,
    expiry_of,
    verify_ahead,
    verify_withdrawal,
    withdrawal_part,
)

VECTORS = Path(__file__).parent.parent / "vectors"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
DAY_KEY = KEY.public_key().public_bytes_raw()
DAY = 20_780
RELAY = Identity(bytes(reversed(range(32)))).peer_id


def signed(*, sequence: int = 77, expires_at: int = expiry_of(DAY), ciphertext: bytes = b"sealed") -> bytes:
    message = signed_part(day_key=DAY_KEY, sequence=sequence, expires_at=expires_at, ciphertext=ciphertext)
    return encode_record(ContactRecord(DAY_KEY, sequence, expires_at, ciphertext, KEY.sign(message)))


def withdrawal(sequence: int = 77) -> Withdraw:
    return Withdraw(DAY_KEY, sequence, KEY.sign(withdrawal_part(relay=RELAY, day_key=DAY_KEY, sequence=sequence)))


def test_a_record_signed_ahead_is_taken_by_holders_from_two_hours_before_its_day_until_the_next_is_over() -> None:
    value, key = signed(), record_key(DAY_KEY)
    assert verify_ahead(value)[0] == DAY
    skew = limits.RECORD_CLOCK_SKEW_SECONDS
    for now in (begin_of(DAY) - skew, begin_of(DAY), begin_of(DAY + 2) - 1):
        verify_record(key, value, now)
    for now in (begin_of(DAY) - skew - 1, begin_of(DAY + 2)):
        with pytest.raises(ProtocolViolation):
            verify_record(key, value, now)


@pytest.mark.parametrize("over", [1, -1, 3600])
def test_an_expiry_within_a_day_is_refused(over: int) -> None:
    with pytest.raises(ProtocolViolation, match="day ends"):
        verify_ahead(signed(expires_at=expiry_of(DAY) + over))


def test_a_sequence_of_the_day_itself_belongs_to_the_owner_who_is_online() -> None:
    assert verify_ahead(signed(sequence=begin_of(DAY) - 1))[1].sequence == begin_of(DAY) - 1
    for sequence in (0, begin_of(DAY), 2**64 - 1):
        with pytest.raises(ProtocolViolation, match="sequence"):
            verify_ahead(signed(sequence=sequence))


def test_a_record_signed_by_somebody_else_is_refused() -> None:
    record = decode_record(signed())
    stranger = Ed25519PrivateKey.generate()
    for wrong in (
        replace(record, signature=stranger.sign(b"anything")),
        replace(record, day_key=stranger.public_key().public_bytes_raw()),
        replace(record, sequence=78),
        replace(record, expires_at=expiry_of(DAY + 1)),
        replace(record, day_key=bytes(32)),
    ):
        with pytest.raises(ProtocolViolation):
            verify_ahead(encode_record(wrong))


def test_a_withdrawal_holds_for_one_relay_one_key_and_one_sequence() -> None:
    verify_withdrawal(withdrawal(), relay=RELAY)
    with pytest.raises(ProtocolViolation):
        verify_withdrawal(withdrawal(), relay=Identity.generate().peer_id)
    for wrong in (
        replace(withdrawal(), sequence=78),
        replace(withdrawal(), day_key=Ed25519PrivateKey.generate().public_key().public_bytes_raw()),
        replace(withdrawal(), signature=bytes(64)),
        replace(withdrawal(), day_key=bytes(32)),
    ):
        with pytest.raises(ProtocolViolation):
            verify_withdrawal(wrong, relay=RELAY)


def test_a_records_own_signature_withdraws_nothing() -> None:
    record = decode_record(signed())
    with pytest.raises(ProtocolViolation):
        verify_withdrawal(Withdraw(DAY_KEY, record.sequence, record.signature), relay=RELAY)


@given(st.one_of(st.binary(max_size=300).map(Leave), st.integers(1, 2**63 - 1).map(withdrawal)))
def test_requests_go_through_unchanged(request: Leave | Withdraw) -> None:
    assert decode_request(encode_request(request)) == request


@given(st.sampled_from(AheadOutcome), st.integers(0, limits.AHEAD_RETRY_SECONDS))
def test_answers_go_through_unchanged_and_fit(outcome: AheadOutcome, after: int) -> None:
    answer = AheadAnswer(outcome, after if outcome is AheadOutcome.BUSY else 0)
    assert decode_answer(encode_answer(answer)) == answer
    assert len(encode_answer(answer)) <= limits.AHEAD_ANSWER_BYTES


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for decode in (decode_request, decode_answer, verify_ahead):
        try:
            decode(data)
        except ProtocolViolation:
            continue


def test_the_largest_record_fits_a_request_and_a_longer_frame_is_refused() -> None:
    value = signed(ciphertext=bytes(limits.RECORD_CIPHERTEXT_BYTES))
    assert len(value) == RECORD_MAX_BYTES
    assert decode_request(encode_request(Leave(value))) == Leave(value)
    with pytest.raises(ProtocolViolation):
        decode_request(bytes(limits.AHEAD_REQUEST_BYTES + 1))


def test_wrong_fields_are_refused() -> None:
    for wrong in (
        replace(withdrawal(), sequence=0),
        replace(withdrawal(), sequence=2**63),
        replace(withdrawal(), day_key=bytes(31)),
        replace(withdrawal(), signature=bytes(63)),
    ):
        with pytest.raises(ProtocolViolation):
            encode_request(wrong)
    for answer in (AheadAnswer(AheadOutcome.DONE, 1), AheadAnswer(AheadOutcome.BUSY, limits.AHEAD_RETRY_SECONDS + 1)):
        with pytest.raises(ProtocolViolation):
            encode_answer(answer)


def test_the_published_vector() -> None:
    vector = json.loads((VECTORS / "ahead.json").read_text())
    assert vector["signing_seed"] == bytes(range(32)).hex()
    assert vector["relay"] == RELAY
    value = signed(sequence=vector["sequence"], ciphertext=bytes.fromhex(vector["ciphertext"]))
    assert (vector["day"], vector["value"]) == (verify_ahead(value)[0], value.hex())
    assert encode_request(Leave(value)).hex() == vector["leave"]
    part = withdrawal_part(relay=RELAY, day_key=DAY_KEY, sequence=vector["sequence"])
    assert part.hex() == vector["withdrawal_part"]
    assert encode_request(withdrawal(vector["sequence"])).hex() == vector["withdraw"]
    assert encode_answer(AheadAnswer(AheadOutcome.BUSY, 600)).hex() == vector["busy_600"]
    # Once more from the text of the spec, without our code.
    name = bytes.fromhex("00240801 1220".replace(" ", "")) + Identity(bytes(reversed(range(32)))).public_key
    expected = b"covey record withdrawn 1\0" + b"\x26" + name + DAY_KEY + vector["sequence"].to_bytes(8, "big")
    assert part == expected
    Ed25519PublicKey.from_public_bytes(DAY_KEY).verify(bytes.fromhex(vector["withdraw"])[-64:], expected)
