"""Our contact record for one day, made of what holds now.

Owns: the order sealed, then signed by the day's key, and what is signed to take records back. Spec:
docs/spec/contact-record.md, docs/spec/ahead.md. Never touches: the DHT, relays, when one is made.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from covey_core.peers import PeerId, peer_id_from_bytes
from covey_core.records import ContactRecord, encode_record, record_key, signed_part
from covey_core.wire.ahead import Withdraw, withdrawal_part
from covey_node import crypto
from covey_node.protocol.record import InnerRecord
from covey_node.service.own import Own, record_keys
from covey_node.store import account, ahead
from covey_node.store.tx import Tx


@dataclass(frozen=True, slots=True)
class MadeRecord:
    """A record as it lies in the DHT: its key, and the encoded value."""

    key: str
    day_key: bytes
    value: bytes = field(repr=False)


def make_record(
    own: Own,
    keys: crypto.RecordKeys,
    *,
    day: int,
    sequence: int,
    made: int,
    expires_at: int,
    addrs: tuple[str, ...],
    bundle: crypto.Bundle,
) -> MadeRecord:
    """Return our record under the key of `day`; the caller has taken `sequence` and `made` and keeps the prekeys."""
    inner = InnerRecord(own.account_key, sequence, made, addrs, bundle.encode())
    day_key = keys.share.blinded_key(day)
    ciphertext = keys.share.seal(day, inner.encode(own.account.sign), own.rng)
    message = signed_part(day_key=day_key, sequence=sequence, expires_at=expires_at, ciphertext=ciphertext)
    record = ContactRecord(day_key, sequence, expires_at, ciphertext, keys.sign(day, message))
    return MadeRecord(record_key(day_key), day_key, encode_record(record))


def make_withdrawal(keys: crypto.RecordKeys, *, day: int, sequence: int, relay: PeerId) -> Withdraw:
    """Return what takes back everything up to `sequence` that lies at `relay` for `day` under these keys."""
    day_key = keys.share.blinded_key(day)
    return Withdraw(day_key, sequence, keys.sign(day, withdrawal_part(relay=relay, day_key=day_key, sequence=sequence)))


def take_back(tx: Tx) -> int:
    """Sign withdrawals of all that may lie at relays under the record keys of now, before these are replaced.

    Returns how many; they are sent when the transaction is durable (service/ahead.py).
    """
    row = account.load(tx)
    assert row is not None  # noqa: S101 - a node does not run without an account
    keys, signed = record_keys(row), 0
    for one in ahead.rows(tx):
        if one.withdrawal is None:
            request = make_withdrawal(keys, day=one.day, sequence=one.sequence, relay=peer_id_from_bytes(one.relay))
            if request.day_key == one.day_key:  # else older keys': they had their withdrawal
                ahead.set_withdrawal(tx, one, request.signature)
                signed += 1
    return signed
