"""A set of queues as its owner tells it to those who may write to it.

Owns: the values `Mailboxes` and `Replica`, what their fields may be, their encoding. Spec: docs/spec/contents.md,
"Mailboxes"; what is done with them: docs/spec/mailbox.md, "Replicas". Never touches: which relays are chosen, keys.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from covey_core.errors import ProtocolViolation
from covey_core.peers import peer_id_from_bytes
from covey_core.wire.mailbox_bounds import QUEUE_ID_BYTES, SECRET_BYTES
from covey_node import limits
from covey_node.protocol.pb import mailboxes_pb2 as pb


@dataclass(frozen=True, slots=True)
class Replica:
    """One queue: its relay (PeerId as multihash, 3 to 44 bytes), up to 4 multiaddrs of it, and the id to write to."""

    relay: bytes
    addrs: tuple[str, ...]
    send_id: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Mailboxes:
    """The queues of one device for one writer, on different relays.

    `number` (1 to 2**63 - 1) grows with every change, and of two sets the one with the higher number counts. `secret`
    (32 bytes) is what ids, seals and the key to write with are derived from. Without replicas the set is taken back,
    and the secret is empty.
    """

    number: int
    secret: bytes = field(repr=False)
    replicas: tuple[Replica, ...]


def mailboxes_to_pb(value: Mailboxes) -> pb.Mailboxes:
    """Return the message; `ProtocolViolation` when a field is not what it may be."""
    check_mailboxes(value)
    return pb.Mailboxes(
        number=value.number,
        secret=value.secret,
        replicas=[pb.Replica(relay=one.relay, addrs=one.addrs, send_id=one.send_id) for one in value.replicas],
    )


def mailboxes_from_pb(message: pb.Mailboxes) -> Mailboxes:
    """Return the set; `ProtocolViolation` when a field is not what it may be."""
    replicas = tuple(Replica(one.relay, tuple(one.addrs), one.send_id) for one in message.replicas)
    value = Mailboxes(message.number, message.secret, replicas)
    check_mailboxes(value)
    return value


def check_mailboxes(value: Mailboxes) -> None:
    """Raise `ProtocolViolation` unless every field is within its bounds and no relay stands there twice."""
    if not 1 <= value.number <= limits.MAILBOX_SET_NUMBER_MAX:
        raise ProtocolViolation(f"a set of mailboxes of number {value.number}")
    if len(value.secret) != (SECRET_BYTES if value.replicas else 0):
        raise ProtocolViolation(f"{len(value.replicas)} mailboxes with a secret of {len(value.secret)} bytes")
    if len(value.replicas) > limits.MAILBOX_REPLICAS_MAX:
        raise ProtocolViolation(f"{len(value.replicas)} mailboxes are over {limits.MAILBOX_REPLICAS_MAX}")
    if len({one.relay for one in value.replicas}) != len(value.replicas):
        raise ProtocolViolation("two mailboxes of one set at the same relay")
    for one in value.replicas:
        _check_replica(one)


def _check_replica(one: Replica) -> None:
    peer_id_from_bytes(one.relay)
    if len(one.send_id) != QUEUE_ID_BYTES:
        raise ProtocolViolation(f"a queue's id of {len(one.send_id)} bytes")
    if len(one.addrs) > limits.MAILBOX_ADDRS_MAX:
        raise ProtocolViolation(f"{len(one.addrs)} addresses of a relay are over {limits.MAILBOX_ADDRS_MAX}")
    for addr in one.addrs:
        size = len(addr.encode())
        if not 0 < size <= limits.MAILBOX_ADDR_BYTES:
            raise ProtocolViolation(f"an address of {size} bytes is over {limits.MAILBOX_ADDR_BYTES}")
