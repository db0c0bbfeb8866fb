"""What an acknowledgement means for messages and contacts.

Owns: the consequences of every outcome (docs/spec/chat.md). Functions take a `Tx`.
Never touches: streams, lanes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from covey_node.protocol.frames import Outcome
from covey_node.protocol.lane import Settled
from covey_node.protocol.status import ContactState, Status
from covey_node.service.applying import refuse_contact, request_arrived
from covey_node.service.effects import Effects
from covey_node.service.own import Own
from covey_node.store import contacts, deliveries, devices, lanes
from covey_node.store.contacts import ContactRow
from covey_node.store.tx import Tx

_REFUSALS = {
    Outcome.INVITE_UNKNOWN: "this invite is not known there or was taken back: ask for a new one",
    Outcome.INVITE_USED: "this invite was already used by somebody else: ask for a new one",
    Outcome.INVITE_EXPIRED: "this invite has expired: ask for a new one",
}
_ASKING = {ContactState.REQUESTING, ContactState.REQUESTED}
_NOT_A_CONTACT = "the other side takes no messages from you"


def settle(
    tx: Tx,
    effects: Effects,
    own: Own,
    contact_id: int,
    device_key: bytes,
    settled: Sequence[Settled],
    *,
    path: str,
) -> bool:
    """Write down what became of deliveries; return whether the session is lost and contents are to be sealed anew."""
    now = own.now()
    lost = False
    for item in settled:
        if item.outcome.delivered:
            row = deliveries.finish(tx, item.delivery, Status.DELIVERED, now=now, path=path)
            if row is not None:
                effects.message_now(row)
        elif item.outcome is Outcome.UNDECRYPTABLE:
            lost = True
        elif item.outcome is Outcome.TOO_MANY_REQUESTS:
            _note(tx, effects, contact_id, "the other side has too many undecided requests: tried again later")
            lost = True  # the lane pauses; the same packet is sent again
        elif item.outcome in _REFUSALS and (asking := _asking(tx, contact_id)) is not None:
            refuse_contact(tx, effects, own, asking, _REFUSALS[item.outcome])
        else:
            row = deliveries.finish(tx, item.delivery, Status.FAILED, now=now, reason=_NOT_A_CONTACT)
            if row is not None:
                effects.message_now(row)
    if any(item.outcome is Outcome.UNDECRYPTABLE for item in settled):
        lanes.unseal_all(tx, contact_id, device_key)
        device = devices.get(tx, contact_id, device_key)
        if device is not None:
            devices.put(tx, replace(device, bundle=None, bundle_at=None))
    if any(item.outcome.delivered for item in settled):
        request_arrived(tx, effects, contact_id)
    return lost


def _asking(tx: Tx, contact_id: int) -> ContactRow | None:
    """Return the contact while a request of ours waits there: of others, no acknowledgement changes the state."""
    contact = contacts.get(tx, contact_id)
    return contact if contact is not None and contact.state in _ASKING else None


def _note(tx: Tx, effects: Effects, contact_id: int, reason: str) -> None:
    contact = _asking(tx, contact_id)
    if contact is not None and contact.reason != reason:
        contacts.save(tx, replace(contact, reason=reason))
        effects.contact(contact_id)
