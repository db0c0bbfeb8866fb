import base64
import dataclasses
import json
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from covey_core import limits
from covey_core.errors import ProtocolViolation
from covey_core.records import (
    NAMESPACE,
    RECORD_MAX_BYTES,
    RECORD_OVERHEAD_BYTES,
    ContactRecord,
    ContactRecordValidator,
    decode_record,
    encode_record,
    record_key,
    select_record,
    signed_part,
    verify_record,
)

NOW = 1_800_000_000.0
EXPIRY = int(NOW) + 86_400
SEED = bytes(range(32))
KEY = SigningKey(SEED)
DAY_KEY = bytes(KEY.verify_key)
VECTORS = Path(__file__).parents[1] / "vectors"


def record(*, sequence=1, expires_at=EXPIRY, ciphertext=b"sealed", signer=KEY, day_key=None):
    day_key = bytes(signer.verify_key) if day_key is None else day_key
    message = signed_part(day_key=day_key, sequence=sequence, expires_at=expires_at, ciphertext=ciphertext)
    return ContactRecord(day_key, sequence, expires_at, ciphertext, bytes(signer.sign(message).signature))


def value(**fields):
    return encode_record(record(**fields))


def test_a_record_stands_under_its_own_key():
    assert verify_record(record_key(DAY_KEY), value(), NOW) == record()
    assert verify_record(record_key(DAY_KEY).encode(), value(), NOW) == record()


def test_the_dht_key_has_46_characters_and_the_namespace_of_the_validator():
    key = record_key(DAY_KEY)
    assert len(key) == 46
    assert key.split("/") == ["", NAMESPACE, base64.urlsafe_b64encode(DAY_KEY).rstrip(b"=").decode()]


def test_the_published_value_is_what_the_spec_says():
    vector = json.loads((VECTORS / "contact_record.json").read_text())
    made = value(
        sequence=vector["sequence"], expires_at=vector["expiry"], ciphertext=bytes.fromhex(vector["ciphertext"])
    )
    assert vector["signing_seed"] == SEED.hex()
    assert made.hex() == vector["value"]
    assert record_key(DAY_KEY) == vector["key"]
    # Once more from the text of the spec, without our code.
    ciphertext = bytes.fromhex(vector["ciphertext"])
    fields = (
        DAY_KEY
        + vector["sequence"].to_bytes(8, "big")
        + vector["expiry"].to_bytes(8, "big")
        + len(ciphertext).to_bytes(4, "big")
        + ciphertext
    )
    assert made[:-64] == b"\x01" + fields
    Ed25519PublicKey.from_public_bytes(DAY_KEY).verify(made[-64:], b"covey contact record 1\0" + fields)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.binary(min_size=1, max_size=300))
def test_a_record_goes_through_unchanged(sequence, expires_at, ciphertext):
    made = record(sequence=sequence, expires_at=expires_at, ciphertext=ciphertext)
    data = encode_record(made)
    assert len(data) == RECORD_OVERHEAD_BYTES + len(ciphertext)
    assert decode_record(data) == made


@given(st.binary(max_size=300), st.binary(max_size=60))
def test_any_bytes_under_any_key_are_refused_with_a_violation(data, key):
    with pytest.raises(ProtocolViolation):
        verify_record(key, data, NOW)


@given(st.binary(min_size=117, max_size=200))
def test_any_bytes_are_a_record_or_a_violation(data):
    try:
        found = decode_record(b"\x01" + data)
    except ProtocolViolation:
        return
    assert encode_record(found) == b"\x01" + data


@given(st.data())
def test_every_changed_bit_is_noticed(data):
    changed = bytearray(value())
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(ProtocolViolation):
        verify_record(record_key(DAY_KEY), bytes(changed), NOW)


def test_nobody_else_can_put_a_record_under_a_key():
    other = SigningKey(bytes(range(1, 33)))
    with pytest.raises(ProtocolViolation, match="not its own"):
        verify_record(record_key(DAY_KEY), value(signer=other), NOW)
    with pytest.raises(ProtocolViolation, match="signature"):
        verify_record(record_key(DAY_KEY), value(signer=other, day_key=DAY_KEY), NOW)


@pytest.mark.parametrize("key", ["", "/c/", "/c", "c/x", "/d/" + record_key(DAY_KEY)[3:], record_key(DAY_KEY) + "="])
def test_a_key_in_another_spelling_is_refused(key):
    with pytest.raises(ProtocolViolation, match="not its own"):
        verify_record(key, value(), NOW)


def test_base64_with_other_unused_bits_is_another_key():
    key = record_key(DAY_KEY)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    twin = key[:-1] + alphabet[alphabet.index(key[-1]) + 1]
    assert base64.urlsafe_b64decode(twin[3:] + "=") == DAY_KEY
    with pytest.raises(ProtocolViolation, match="not its own"):
        verify_record(twin, value(), NOW)


def test_a_record_lives_until_its_expiry_and_not_longer():
    key = record_key(DAY_KEY)
    verify_record(key, value(), EXPIRY - 0.5)
    for late in (EXPIRY, EXPIRY + 1):
        with pytest.raises(ProtocolViolation, match="expired"):
            verify_record(key, value(), late)


def test_nobody_can_fill_holders_with_records_for_years():
    key = record_key(DAY_KEY)
    ahead = limits.RECORD_VALID_SECONDS + limits.RECORD_CLOCK_SKEW_SECONDS
    verify_record(key, value(expires_at=int(NOW) + ahead), NOW)
    for expires_at in (int(NOW) + ahead + 1, 2**64 - 1):
        with pytest.raises(ProtocolViolation, match="ahead"):
            verify_record(key, value(expires_at=expires_at), NOW)


@pytest.mark.parametrize("ciphertext", [b"", bytes(limits.RECORD_CIPHERTEXT_BYTES + 1)])
def test_a_ciphertext_out_of_bounds_is_neither_made_nor_taken(ciphertext):
    with pytest.raises(ProtocolViolation):
        value(ciphertext=ciphertext)
    whole = value(ciphertext=bytes(10))
    data = whole[:49] + len(ciphertext).to_bytes(4, "big") + ciphertext + whole[-64:]
    with pytest.raises(ProtocolViolation):
        verify_record(record_key(DAY_KEY), data, NOW)


def test_the_largest_record_is_taken():
    data = value(ciphertext=bytes(limits.RECORD_CIPHERTEXT_BYTES))
    assert len(data) == RECORD_MAX_BYTES
    verify_record(record_key(DAY_KEY), data, NOW)


@pytest.mark.parametrize("change", [lambda data: data + b"\0", lambda data: data[:-1], lambda data: b"\x02" + data[1:]])
def test_trailing_missing_and_foreign_bytes_are_violations(change):
    with pytest.raises(ProtocolViolation):
        verify_record(record_key(DAY_KEY), change(value()), NOW)
    with pytest.raises(ProtocolViolation):
        decode_record(change(value()))


def test_fields_of_a_wrong_size_are_not_encoded():
    for change in ({"day_key": bytes(31)}, {"signature": bytes(63)}):
        with pytest.raises(ProtocolViolation):
            encode_record(dataclasses.replace(record(), **change))
    with pytest.raises(ProtocolViolation):
        record_key(bytes(31))


P = 2**255 - 19
SMALL_ORDER = [
    # The eight points of small order and non-canonical spellings of some: cr.yp.to/ecdh.html and
    # "Taming the many EdDSAs" (eprint 2020/1244), table 5.
    (1).to_bytes(32, "little"),
    (0).to_bytes(32, "little"),
    (2**255).to_bytes(32, "little"),
    (P - 1).to_bytes(32, "little"),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa"),
    P.to_bytes(32, "little"),
    (P + 1).to_bytes(32, "little"),
    (P - 1 + 2**255).to_bytes(32, "little"),
]


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_a_key_of_small_order_for_which_anybody_could_sign_is_refused(point):
    # With A of small order, R = s*B and any s verify for a message whose hash is a multiple of the order.
    made = dataclasses.replace(record(), day_key=point)
    with pytest.raises(ProtocolViolation, match="no point of the prime-order subgroup"):
        verify_record(record_key(point), encode_record(made), NOW)


def test_a_key_with_a_torsion_component_is_refused_although_its_signature_may_fit():
    from nacl import bindings  # noqa: PLC0415

    mixed = bindings.crypto_core_ed25519_add(DAY_KEY, (P - 1).to_bytes(32, "little"))
    made = record(day_key=mixed)
    with pytest.raises(ProtocolViolation, match="no point of the prime-order subgroup"):
        verify_record(record_key(mixed), encode_record(made), NOW)


def test_bytes_that_are_no_point_are_refused():
    for data in (b"\x02" + bytes(31), b"\xff" * 32):
        made = dataclasses.replace(record(), day_key=data)
        with pytest.raises(ProtocolViolation, match="no point"):
            verify_record(record_key(data), encode_record(made), NOW)


def test_a_signature_with_a_second_spelling_of_s_is_refused():
    # RFC 8032, 5.1.7: S must be below the group's order, or anybody could make a second valid value.
    order = 2**252 + 27742317777372353535851937790883648493
    made = record()
    s = int.from_bytes(made.signature[32:], "little") + order
    twin = dataclasses.replace(made, signature=made.signature[:32] + s.to_bytes(32, "little"))
    with pytest.raises(ProtocolViolation, match="signature"):
        verify_record(record_key(DAY_KEY), encode_record(twin), NOW)


def test_a_signature_for_another_purpose_does_not_fit():
    made = record()
    plain = KEY.sign(encode_record(made)[:-64]).signature
    with pytest.raises(ProtocolViolation, match="signature"):
        verify_record(record_key(DAY_KEY), encode_record(dataclasses.replace(made, signature=bytes(plain))), NOW)
    with pytest.raises(InvalidSignature):
        Ed25519PublicKey.from_public_bytes(DAY_KEY).verify(made.signature, encode_record(made)[:-64])


@given(st.permutations([(1, 0, b"a"), (2, 0, b"a"), (2, 5, b"a"), (2, 5, b"b")]))
def test_all_holders_keep_the_same_record_whatever_the_order(candidates):
    values = [value(sequence=s, expires_at=EXPIRY + e, ciphertext=c) for s, e, c in candidates]
    best = decode_record(values[select_record(values)])
    assert (best.sequence, best.expires_at) == (2, EXPIRY + 5)
    assert values[select_record(values)] == max(
        value(sequence=2, expires_at=EXPIRY + 5, ciphertext=c) for c in (b"a", b"b")
    )


def test_the_validator_does_for_the_dht_what_the_functions_do():
    validator = ContactRecordValidator()
    key = record_key(DAY_KEY).encode()
    validator.validate(key, value(), now=NOW)
    with pytest.raises(ProtocolViolation):
        validator.validate(key, value(), now=NOW + 10**9)
    assert validator.select([value(sequence=1), value(sequence=3), value(sequence=2)]) == 1
