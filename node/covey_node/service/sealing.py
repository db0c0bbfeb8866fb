"""Contents become packets: for every device of a contact, with the session's new state in the same transaction.

Owns: the choice of session, the rule that a packet and the state that made it are written together (docs/spec/e2ee.md).
Never touches: sockets. All functions take a `Tx`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import chain

from covey_core.peers import public_key_of
from covey_node import crypto, limits
from covey_node.protocol.addresses import peers_in
from covey_node.protocol.contents import (
    ContactAccept,
    ContactRequest,
    Content,
    Receipt,
    decode_content,
    encode_content,
    introduces,
)
from covey_node.service.effects import Effects
from covey_node.service.own import Own
from covey_node.store import contact_places, deliveries, devices, lanes, queue_told, queues, sessions
from covey_node.store.contacts import ContactRow
from covey_node.store.sessions import SessionRow
from covey_node.store.tx import Tx

PAGE = 256
"""Contents sealed in one go after a new session: bounds the time of one transaction."""

_STEP = 0.001
"""What sets two sessions apart in time, seconds."""


def packet_hash(packet: bytes) -> bytes:
    """Return the SHA-256 (32 bytes) by which both sides recognise a packet."""
    return hashlib.sha256(packet).digest()


def device_keys(tx: Tx, contact: ContactRow) -> tuple[bytes, ...]:
    """Return the devices of a contact; before its bundle came, those that its invite and its addresses name."""
    known = devices.keys(tx, contact.id)
    if known:
        return known
    invited = contact_places.device_of(tx, contact.id)
    named = (() if invited is None else (invited,), (public_key_of(peer) for peer in peers_in(contact.addrs)))
    return tuple(dict.fromkeys(chain.from_iterable(named)))


def open_devices(tx: Tx, contact: ContactRow) -> tuple[bytes, ...]:
    """Return the devices that get what we send: without those that came to a verified contact unseen by the user."""
    barred = devices.unaccepted(tx, contact.id) if contact.verified_at is not None else frozenset()
    return tuple(key for key in device_keys(tx, contact) if key not in barred)


def queue_content(
    tx: Tx,
    effects: Effects,
    own: Own,
    contact: ContactRow,
    content: Content,
    *,
    message_row: int | None = None,
    only: Collection[bytes] | None = None,
) -> None:
    """Put a content into the outbox for every device of a contact, or `only` for these, sealed where a session stands.

    A device that came to a verified contact gets nothing, not even a receipt, before the user has looked at it.
    """
    data = encode_content(content)
    now = own.now()
    for device_key in open_devices(tx, contact):
        if only is not None and device_key not in only:
            continue
        packet = None if lanes.has_unsealed(tx, contact.id, device_key) else _seal(tx, own, contact, device_key, data)
        deliveries.enqueue(
            tx,
            contact_id=contact.id,
            device_key=device_key,
            now=now,
            message_row=message_row,
            content_id=None if isinstance(content.body, Receipt) else content.message_id,
            content=data,
            packet=packet,
            packet_hash=None if packet is None else packet_hash(packet),
        )
        effects.lane(contact.id, device_key)


def seal_waiting(tx: Tx, own: Own, contact: ContactRow, device_key: bytes, bundle: crypto.Bundle | None) -> int:
    """Start a session from a verified bundle and seal what waited for it, a page in order; return how many contents.

    Without a bundle they go on the session that was started for the page before: a bundle's one-time keys serve once.
    """
    waiting = lanes.unsealed(tx, contact.id, device_key, limit=PAGE)
    now = own.now()
    for number, (row_id, data) in enumerate(waiting):
        if number == 0 and bundle is not None:
            told = with_mailboxes(tx, contact, device_key, data)
            session, packet = crypto.initiate(own.local, bundle, told, own.rng, now=now)
            sessions.add(tx, session_row(contact.id, session, now=now))
        else:
            sealed = _seal(tx, own, contact, device_key, data)
            if sealed is None:  # the session of the page before has gone meanwhile
                return number
            packet = sealed
        lanes.sealed(tx, row_id, packet=packet, packet_hash=packet_hash(packet))
    return len(waiting)


def session_row(contact_id: int, session: crypto.Session, *, now: float) -> SessionRow:
    """Return the row of a new session."""
    return SessionRow(
        contact_id=contact_id,
        device_key=session.peer_device,
        base_key_hash=session.id,
        initiator=session.initiated,
        awaiting_reply=session.awaits_reply,
        state=session.encode(),
        created_at=now,
    )


def received_on(tx: Tx, row: SessionRow, session: crypto.Session, *, now: float) -> None:
    """Write the state of a session on which a packet was opened; it may become the one to send on."""
    sending = sending_session(sessions.of_device(tx, row.contact_id, row.device_key))
    sessions.save(tx, replace(row, state=session.encode(), awaiting_reply=session.awaits_reply, last_received_at=now))
    if sending.id != row.id and crypto.preferred(crypto.Session.decode(sending.state), session) is session:
        sessions.put_first(tx, row.id, at=max(now, sending.created_at + _STEP))


def _seal(tx: Tx, own: Own, contact: ContactRow, device_key: bytes, data: bytes) -> bytes | None:
    rows = sessions.of_device(tx, contact.id, device_key)
    if not rows:
        return None
    row = sending_session(rows)
    session = crypto.Session.decode(row.state)
    if session.setup_expires_at is not None and session.setup_expires_at <= own.now():
        return None  # nobody can open this set-up any more: a new one is made from a fresh bundle
    session, packet = session.encrypt(with_mailboxes(tx, contact, device_key, data), own.rng)
    sessions.save(tx, replace(row, state=session.encode(), awaiting_reply=session.awaits_reply))
    if len(packet) > limits.PACKET_BYTES:
        raise crypto.PlaintextTooLarge(size=len(packet), limit=limits.PACKET_BYTES)
    return packet


def with_mailboxes(tx: Tx, contact: ContactRow, device_key: bytes, data: bytes) -> bytes:
    """Return what is sealed for a content: a request or acceptance also tells the mailboxes that stand by now.

    What is kept in the outbox stays without them, so that a content which is sealed anew tells those of then.
    """
    if not introduces(data):
        return data
    content, mailboxes = decode_content(data), queues.for_contact(tx, contact.id)
    if mailboxes is None or not isinstance(content.body, ContactRequest | ContactAccept):
        return data
    row = queues.set_for(tx, queues.Purpose.CONTACT, contact.id)
    assert row is not None  # noqa: S101 - its mailboxes were found a line ago
    queue_told.told(tx, row.id, device_key, number=mailboxes.number, content_id=content.message_id)
    return encode_content(replace(content, body=replace(content.body, mailboxes=mailboxes)))


def sending_session(rows: Sequence[SessionRow]) -> SessionRow:
    """Return the session to send on: the newest; `rank_accepted` and `received_on` keep the order."""
    return max(rows, key=lambda row: (row.created_at, row.base_key_hash))


def rank_accepted(tx: Tx, contact_id: int, session: crypto.Session, *, now: float) -> SessionRow:
    """Return the row of a session that the peer began: newer than ours, unless ours is to stay the one to send on.

    Both may have begun a session at once; docs/spec/e2ee.md says on which one both go on.
    """
    row = session_row(contact_id, session, now=now)
    rows = sessions.of_device(tx, contact_id, session.peer_device)
    if rows:
        ours = sending_session(rows)
        if crypto.preferred(crypto.Session.decode(ours.state), session) is session:
            row = replace(row, created_at=max(now, ours.created_at + _STEP))
        else:
            row = replace(row, created_at=ours.created_at - _STEP)
    return row
