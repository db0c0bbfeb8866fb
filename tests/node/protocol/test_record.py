"""The inside of contact records: signed by the account, whatever way its fields are written."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey_core.errors import ProtocolViolation
from covey_node import crypto, limits
from covey_node.protocol.pb import invite_pb2 as pb
from covey_node.protocol.record import SIGN_CONTEXT, InnerRecord, _padding

ACCOUNT = crypto.Account.from_seed(bytes(range(32)))
OTHER = crypto.Account.from_seed(bytes(32))
RECORD = InnerRecord(ACCOUNT.public_key, 7, 9, ("/ip4/192.0.2.1/tcp/1", "/ip4/192.0.2.2/tcp/2"), b"a bundle")


def read(data: bytes) -> InnerRecord:
    return InnerRecord.decode(data, account_key=ACCOUNT.public_key)


@given(
    sequence=st.integers(0, limits.RECORD_SEQUENCE_MAX),
    made=st.integers(0, limits.RECORD_SEQUENCE_MAX),
    addrs=st.lists(st.text(min_size=1, max_size=100), max_size=limits.ADDRS_MAX),
    bundle=st.binary(max_size=3000),
)
def test_what_was_written_is_read(sequence: int, made: int, addrs: list[str], bundle: bytes) -> None:
    record = InnerRecord(ACCOUNT.public_key, sequence, made, tuple(addrs), bundle)
    assert read(record.encode(ACCOUNT.sign)) == record


@given(data=st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        read(data)


@given(data=st.data())
def test_a_record_with_one_byte_changed_is_refused_or_means_the_same(data: st.DataObject) -> None:
    whole = bytearray(RECORD.encode(ACCOUNT.sign))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    try:
        assert read(bytes(whole)) == RECORD
    except ProtocolViolation:
        pass


def test_the_signed_layout_is_the_one_of_the_specification() -> None:
    body = (
        ACCOUNT.public_key
        + (7).to_bytes(8, "big")
        + (9).to_bytes(8, "big")
        + (2).to_bytes(2, "big")
        + b"".join(len(addr).to_bytes(2, "big") + addr.encode() for addr in RECORD.addrs)
        + (8).to_bytes(4, "big")
        + b"a bundle"
    )
    message = pb.ContactRecord()
    message.ParseFromString(RECORD.encode(ACCOUNT.sign))
    assert message.signature == ACCOUNT.sign(b"covey contact record inside 1\x00", body)
    assert SIGN_CONTEXT == b"covey contact record inside 1\x00"


@given(size=st.integers(0, limits.BUNDLE_BYTES), addrs=st.integers(0, 12))
def test_records_have_few_sizes(size: int, addrs: int) -> None:
    record = replace(RECORD, addrs=("/ip4/192.0.2.1/tcp/1",) * addrs, bundle=bytes(size))
    data = record.encode(ACCOUNT.sign)
    assert read(data) == record
    assert len(data) % limits.RECORD_STEP_BYTES == 0
    assert len(data) < size + addrs * 30 + 250 + 2 * limits.RECORD_STEP_BYTES


def test_every_size_is_padded_to_a_step_or_to_the_most_that_fits() -> None:
    for size in range(1, 3 * limits.RECORD_STEP_BYTES):
        length = _padding(size)
        field = length + (0 if not length else 2 if length < 128 else 3)
        assert (size + field) % limits.RECORD_STEP_BYTES == 0
    for size in range(limits.RECORD_PLAINTEXT_BYTES - 300, limits.RECORD_PLAINTEXT_BYTES + 1):
        length = _padding(size)
        field = length + (0 if not length else 2 if length < 128 else 3)
        assert size + field <= limits.RECORD_PLAINTEXT_BYTES


def test_neither_number_is_over_what_the_store_holds() -> None:
    for over in ("sequence", "made"):
        with pytest.raises(ProtocolViolation):
            read(replace(RECORD, **{over: limits.RECORD_SEQUENCE_MAX + 1}).encode(ACCOUNT.sign))  # type: ignore[arg-type]


def test_bytes_cannot_move_from_one_field_into_another() -> None:
    message = pb.ContactRecord()
    message.ParseFromString(RECORD.encode(ACCOUNT.sign))
    moved = replace(RECORD, addrs=("".join(RECORD.addrs),))
    with pytest.raises(ProtocolViolation):
        read(moved.encode(lambda _context, _body: message.signature))


def test_a_record_of_another_account_is_refused() -> None:
    theirs = replace(RECORD, account_key=OTHER.public_key).encode(OTHER.sign)
    with pytest.raises(ProtocolViolation, match="another account"):
        read(theirs)
    with pytest.raises(ProtocolViolation):
        read(RECORD.encode(OTHER.sign))


def test_a_record_over_its_bounds_is_refused() -> None:
    for over in (
        replace(RECORD, addrs=("/ip4/192.0.2.1/tcp/1",) * (limits.ADDRS_MAX + 1)),
        replace(RECORD, addrs=("x" * (limits.ADDR_BYTES + 1),)),
        replace(RECORD, bundle=bytes(limits.BUNDLE_BYTES + 1)),
        replace(RECORD, bundle=bytes(limits.RECORD_PLAINTEXT_BYTES)),
    ):
        with pytest.raises(ProtocolViolation):
            read(over.encode(ACCOUNT.sign))
