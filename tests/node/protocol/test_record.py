"""The inside of a contact record."""

import pytest

from covey_core.errors import ProtocolViolation
from covey_node import crypto, limits
from covey_node.protocol.record import InnerRecord

ALICE = crypto.Account.from_seed(bytes(32))


def record(sequence: int) -> InnerRecord:
    return InnerRecord(ALICE.public_key, sequence, ("/ip4/192.0.2.1/tcp/1",), b"bundle")


def test_a_record_comes_back_as_it_was() -> None:
    known = record(limits.RECORD_SEQUENCE_MAX)
    assert InnerRecord.decode(known.encode(ALICE.sign), account_key=ALICE.public_key) == known


def test_a_sequence_that_no_database_holds_is_refused() -> None:
    with pytest.raises(ProtocolViolation, match="sequence"):
        InnerRecord.decode(record(2**63).encode(ALICE.sign), account_key=ALICE.public_key)
