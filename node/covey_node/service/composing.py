"""Contents that we send: made, stored and queued in one transaction.

Owns: new messages and the contents that go with contacts. Functions take a `Tx`.
Never touches: sockets, sessions (sealing.py).
"""

from __future__ import annotations

import json
from collections.abc import Collection
from contextlib import suppress

from covey_node import limits
from covey_node.protocol.contents import Body, Content, Reachability, Text, decode_content, encode_content
from covey_node.protocol.status import ContactState, Status
from covey_node.service.effects import Effects
from covey_node.service.own import Own, record_keys
from covey_node.service.sealing import open_devices, queue_content
from covey_node.store import account, deliveries, lanes, messages
from covey_node.store.contacts import ContactRow
from covey_node.store.deliveries import OutboxFull
from covey_node.store.messages import MessageRow
from covey_node.store.tx import Tx

ADDRS_META = "addrs"
"""The `meta` key under which our own current addresses are kept as JSON."""


def new_text(
    tx: Tx,
    effects: Effects,
    own: Own,
    contact: ContactRow,
    text: str,
    *,
    reply_to: bytes | None,
    disappear_seconds: int,
) -> MessageRow:
    """Store and queue a text; before the contact accepted, it is held back here."""
    now = own.now()
    content = Content(own.rng(limits.MESSAGE_ID_BYTES), now, Text(text, reply_to), disappear_seconds)
    accepted = contact.state is ContactState.ACCEPTED
    row = messages.add(
        tx,
        MessageRow(
            contact_id=contact.id,
            outgoing=True,
            message_id=content.message_id,
            kind="text",
            body=encode_content(content),
            text=text,
            sent_at=now,
            status=Status.QUEUED,
            status_at=now,
            reply_to=reply_to,
            reason=None if accepted else "the contact has not accepted your request yet",
            disappear_seconds=disappear_seconds or None,
            expires_at=now + disappear_seconds if disappear_seconds else None,
        ),
    )
    assert row is not None  # noqa: S101 - the id is 128 fresh random bits
    if accepted:
        queue_content(tx, effects, own, contact, content, message_row=row.id)
    effects.message_now(row)
    return row


def send_held_back(tx: Tx, effects: Effects, own: Own, contact: ContactRow) -> None:
    """Queue what the user wrote before the contact accepted; what no device has room for fails, with the reason."""
    for row in lanes.held_back(tx, contact.id):
        try:
            queue_content(tx, effects, own, contact, decode_content(row.body), message_row=row.id)
        except OutboxFull as exc:
            if not deliveries.of_message(tx, row.id):
                messages.move(tx, row.id, Status.FAILED, now=own.now(), reason=str(exc))
                effects.message(row.id)
                continue
        messages.set_reason(tx, row.id, None)
        effects.message(row.id)


def send_notice_content(tx: Tx, effects: Effects, own: Own, contact: ContactRow, body: Body) -> None:
    """Queue a content that is no message of its own: receipts, acceptance, edits, where we are."""
    content = Content(own.rng(limits.MESSAGE_ID_BYTES), own.now(), body)
    queue_content(tx, effects, own, contact, content)


def send_where_room(
    tx: Tx, effects: Effects, own: Own, contact: ContactRow, body: Body, *, only: Collection[bytes] | None = None
) -> None:
    """Do the same for an answer to what a contact sent, to all its devices or `only` these: a full outbox gets none.

    What came has been done, and others wait behind it: it must not fail, and come again, for want of an answer.
    """
    content = Content(own.rng(limits.MESSAGE_ID_BYTES), own.now(), body)
    for key in open_devices(tx, contact):
        if only is None or key in only:
            with suppress(OutboxFull):
                queue_content(tx, effects, own, contact, content, only=(key,))


def own_reachability(tx: Tx) -> Reachability:
    """Return what a contact needs to find us: record key, contact secret, and the addresses of now."""
    row = account.load(tx)
    assert row is not None  # noqa: S101 - a node does not run without an account
    share = record_keys(row).share
    return Reachability(share.public, share.secret, own_addrs(tx))


def own_addrs(tx: Tx) -> tuple[str, ...]:
    """Return our addresses as they were last noted."""
    stored = account.get_meta(tx, ADDRS_META)
    return () if stored is None else tuple(str(addr) for addr in json.loads(stored))


def note_own_addrs(tx: Tx, addrs: tuple[str, ...]) -> bool:
    """Keep our current addresses; return whether they changed."""
    new = json.dumps(addrs[: limits.ADDRS_MAX]).encode()
    if account.get_meta(tx, ADDRS_META) == new:
        return False
    account.set_meta(tx, ADDRS_META, new)
    return True


def own_name(tx: Tx) -> str:
    """Return the name under which we introduce ourselves."""
    row = account.load(tx)
    return "" if row is None else row.name
