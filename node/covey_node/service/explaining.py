"""Why a message is where it is, put into words.

Owns: the explanation of one message. Functions take a `Tx`. Spec: docs/spec/api.md, section 5; docs/users.md.
Never touches: anything that is tried; it only says what is known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from covey_core.peers import PeerId, peer_id_from_bytes, peer_id_of
from covey_node import limits
from covey_node.protocol.paths import PathKind
from covey_node.protocol.replication import Copies, quorum
from covey_node.protocol.status import Status
from covey_node.service.views import ONE_RELAY
from covey_node.service.why_views import DeviceWhy, DirectWhy, MailboxWhy, WhyView
from covey_node.store import contacts, deliveries, deposits
from covey_node.store.deliveries import DeliveryRow
from covey_node.store.deposits import ReplicaCopy
from covey_node.store.messages import MessageRow
from covey_node.store.tx import Tx

_ENDED: Final = {
    Status.READ: "the contact has read it",
    Status.EXPIRED: "it could not be delivered in time",
    Status.FAILED: "it was refused",
    Status.RECEIVED: "it came from the contact",
}


def explain(
    tx: Tx,
    row: MessageRow,
    *,
    now: float,
    path_of: Callable[[PeerId], PathKind],
    name_of: Callable[[PeerId], str],
) -> WhyView:
    """Say why a message is where it is. `path_of` a device now, `name_of` a relay for people."""
    waiting = deliveries.of_message(tx, row.id) if row.outgoing else ()
    devices = tuple(_device(tx, one, now=now, path_of=path_of, name_of=name_of) for one in waiting)
    return WhyView(
        id=row.message_id.hex(),
        contact=contacts.alias_of(tx, row.contact_id),
        status=row.status,
        status_at=row.status_at,
        words=_words(row, devices),
        devices=devices,
    )


def _words(row: MessageRow, devices: tuple[DeviceWhy, ...]) -> str:
    if row.status is Status.DELIVERED:
        way = f", over the path `{row.path}`" if row.path and row.path != PathKind.MAILBOX else ""
        return "a device of the contact has it" + (", out of a mailbox" if row.path == PathKind.MAILBOX else way)
    if row.status in _ENDED:
        return _ENDED[row.status] + (f": {row.reason}" if row.reason else "")
    if not devices:
        return row.reason or "it waits for its turn"
    best = max((_copies(one) for one in devices), key=lambda copies: copies.stored)
    if row.status is Status.STORED and best.of:
        words = f"{best} mailboxes have it; the contact fetches it when it comes online"
        if best.of == 1:
            return f"{words}; {ONE_RELAY}"
        return words if best.enough else f"{words}; copies were lost, and are laid down again"
    if row.status is Status.STORED:
        return "it lay in mailboxes that the contact has given up; it is kept here until a device has it"
    if row.status is Status.SENT:
        return "it was written to a connection, and the device has not acknowledged it yet"
    if best.of:
        needed = f"{best} mailboxes have it, {quorum(best.of)} are needed"
        return f"{needed}; {row.reason}" if row.reason else needed
    return row.reason or "it is being sent"


def _copies(device: DeviceWhy) -> Copies:
    return Copies(sum(one.stored for one in device.mailboxes), len(device.mailboxes))


def _device(
    tx: Tx,
    row: DeliveryRow,
    *,
    now: float,
    path_of: Callable[[PeerId], PathKind],
    name_of: Callable[[PeerId], str],
) -> DeviceWhy:
    path = path_of(peer_id_of(row.device_key))
    direct = path is not PathKind.NONE
    replicas = deposits.of_delivery(tx, row.id)
    return DeviceWhy(
        device=row.device_key.hex(),
        status=row.state,
        expires_at=row.expires_at,
        direct=DirectWhy(path, _direct_words(row, path), row.attempts, None if direct else row.next_attempt_at),
        mailboxes=tuple(
            _mailbox(one, row, name_of(peer_id_from_bytes(one.relay)), now=now, direct=direct) for one in replicas
        ),
    )


def _direct_words(row: DeliveryRow, path: PathKind) -> str:
    if row.packet is None:
        return "the device has not handed out its keys yet" + (f": {row.reason}" if row.reason else "")
    if path is PathKind.NONE:
        return row.reason or "no path stands; one is being looked for"
    if row.state is Status.QUEUED:
        return "a path stands; it is about to be sent"
    return "a path stands; the device has not acknowledged it"


def _mailbox(one: ReplicaCopy, row: DeliveryRow, name: str, *, now: float, direct: bool) -> MailboxWhy:
    if one.stored_at is not None:
        return MailboxWhy(name, stored=True, since=one.stored_at, words="has it", next_attempt_at=None)
    if one.reason is not None:
        words = one.reason.removeprefix(f"{name}: ")
    elif row.packet is None:
        words = "gets it as soon as it is encrypted"
    elif direct and now < row.created_at + limits.DEPOSIT_AFTER_SECONDS:
        words = "gets it when the device has not acknowledged it soon"
    else:
        words = "it is being laid down"
    return MailboxWhy(name, stored=False, since=one.lost_at, words=words, next_attempt_at=one.next_attempt_at)
