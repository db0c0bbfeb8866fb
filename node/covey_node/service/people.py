"""What we know of a contact's devices, and what is said when that changes.

Owns: the device list that counts, the key-change log (docs/spec/e2ee.md). Functions take a `Tx`.
Never touches: sessions, sockets.
"""

from __future__ import annotations

import os
from dataclasses import replace

from covey_core.errors import ProtocolViolation
from covey_node import crypto
from covey_node.protocol.status import Status
from covey_node.service.effects import Effects
from covey_node.store import contacts, deliveries, devices, messages, peer_mailboxes
from covey_node.store.contacts import ContactRow
from covey_node.store.devices import DeviceRow
from covey_node.store.messages import MessageRow
from covey_node.store.tx import Tx

_GOOD = {crypto.Succession.SAME, crypto.Succession.NEXT, crypto.Succession.LATER}


def note_devices(tx: Tx, effects: Effects, contact: ContactRow, found: crypto.DeviceList, *, now: float) -> None:
    """Take over a contact's signed device list; ProtocolViolation when it goes back or forks.

    A device that comes, changes or goes after the first list is logged, shown as a notice, and closes sending to a
    verified contact until the user looked at it. One that went gets nothing more, also not what was sealed before.
    """
    first = contact.device_list is None
    if contact.device_list is not None:
        succession = found.after(crypto.DeviceList.decode(contact.device_list))
        if succession is crypto.Succession.SAME:
            return
        if succession not in _GOOD:
            raise ProtocolViolation("the contact's device list goes back or forks")
    known = {row.device_key: row.dh_key for row in devices.of_contact(tx, contact.id)}
    current = {device.ed25519: device for device in found.devices}
    for key, device in current.items():
        if known.get(key) != device.x25519:
            devices.put(
                tx,
                DeviceRow(contact_id=contact.id, device_key=key, dh_key=device.x25519, added_at=float(device.added_at)),
            )
            if not first:
                _log_change(tx, effects, contact, key, "added", now=now)
    for key in known.keys() - current.keys():
        devices.revoke(tx, contact.id, key, now=now)
        peer_mailboxes.forget(tx, contact.id, key)
        for row in deliveries.drop_of_device(tx, contact.id, key, now=now, reason="the contact took this device off"):
            effects.message(row.id)
        if not first:
            _log_change(tx, effects, contact, key, "revoked", now=now)
    fresh = contacts.get(tx, contact.id) or contact
    contacts.save(tx, replace(fresh, device_list=found.encode()))


def notice(tx: Tx, effects: Effects, contact_id: int, text: str, *, now: float) -> None:
    """Put a line of our own into the history with a contact."""
    row = messages.add(
        tx,
        MessageRow(
            contact_id=contact_id,
            outgoing=False,
            message_id=os.urandom(16),
            kind="notice",
            body=b"",
            text=text,
            sent_at=now,
            received_at=now,
            read_at=now,
            status=Status.RECEIVED,
            status_at=now,
        ),
    )
    if row is not None:
        effects.message(row.id)


def _log_change(tx: Tx, effects: Effects, contact: ContactRow, key: bytes, change: str, *, now: float) -> None:
    reason = "the account's signed device list says so"
    devices.log_change(tx, contact.id, key, change=change, reason=reason, now=now)
    word = "a new device" if change == "added" else "one device less"
    notice(
        tx,
        effects,
        contact.id,
        f"{contact.alias} has {word} ({key.hex()[:8]}): compare the safety number if you did not expect it",
        now=now,
    )
