"""Contact queues as an invite names them: whose, under which secret, at which relays.

Owns: `ContactSet` and its form in a link, where relays of the link's network are named by their place in it. Spec:
docs/spec/first-contact.md, "In the invite". Never touches: queues, keys, the rest of the link (invite.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from covey_core.errors import ProtocolViolation
from covey_core.network import Network, RelayEntry
from covey_core.peers import peer_id_bytes
from covey_core.wire.mailbox_bounds import SECRET_BYTES
from covey_node import limits
from covey_node.protocol.mailboxes import Mailboxes, Replica, check_mailboxes
from covey_node.protocol.pb import invite_pb2 as pb


@dataclass(frozen=True, slots=True)
class ContactSet:
    """The contact queues of one device (Ed25519 key, 32 bytes): a secret of 32 bytes and 1 to 8 queues."""

    device: bytes
    secret: bytes = field(repr=False)
    replicas: tuple[Replica, ...]


def contact_set_to_pb(value: ContactSet, network: Network) -> pb.ContactMailboxes:
    """Return the message in a link with this network; `ProtocolViolation` when a field is not what it may be."""
    _check(value)
    known = {_relay_bytes(entry): index for index, entry in reversed(list(enumerate(network.relays, start=1)))}
    return pb.ContactMailboxes(
        device=value.device,
        secret=value.secret,
        replicas=[
            pb.ContactReplica(index=known[one.relay], send_id=one.send_id)
            if one.relay in known
            else pb.ContactReplica(relay=one.relay, addrs=one.addrs, send_id=one.send_id)
            for one in value.replicas
        ],
    )


def contact_set_from_pb(message: pb.ContactMailboxes, network: Network) -> ContactSet:
    """Return the set; relays named by their place have the network's addresses. `ProtocolViolation`."""
    replicas = tuple(_replica(one, network) for one in message.replicas)
    value = ContactSet(message.device, message.secret, replicas)
    _check(value)
    return value


def _replica(one: pb.ContactReplica, network: Network) -> Replica:
    if not one.index:
        return Replica(one.relay, tuple(one.addrs), one.send_id)
    if one.index > len(network.relays):
        raise ProtocolViolation(f"relay {one.index} of a network with {len(network.relays)}")
    entry = network.relays[one.index - 1]
    addrs = tuple(addr for addr in entry.addrs if len(addr.encode()) <= limits.MAILBOX_ADDR_BYTES)
    return Replica(_relay_bytes(entry), addrs[: limits.MAILBOX_ADDRS_MAX], one.send_id)


def _relay_bytes(entry: RelayEntry) -> bytes:
    return peer_id_bytes(entry.peer)


def _check(value: ContactSet) -> None:
    if len(value.device) != limits.ACCOUNT_KEY_BYTES or len(value.secret) != SECRET_BYTES or not value.replicas:
        raise ProtocolViolation(f"a contact set of {len(value.replicas)} queues, or with a key of another size")
    check_mailboxes(Mailboxes(1, value.secret, value.replicas))
