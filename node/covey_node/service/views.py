"""Rows as a person sees them.

Owns: the translation of rows into the port's values. Functions take a `Tx`. Paths are filled in outside (paths.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from covey_node.protocol.paths import PathKind
from covey_node.protocol.replication import Copies
from covey_node.protocol.status import OPEN, Status
from covey_node.service.port import ContactView, CopiesView, InviteView, MessageView, ReactionView
from covey_node.store import contacts, deposits, lanes, messages, reactions
from covey_node.store.contacts import ContactRow
from covey_node.store.deposits import ReplicaCopy
from covey_node.store.invites import InviteRow
from covey_node.store.messages import MessageRow
from covey_node.store.tx import Tx

ONE_RELAY: Final = "there is only one relay with mailboxes: if it fails, the message waits here"


def contact_view(tx: Tx, row: ContactRow) -> ContactView:
    """Return a contact without its path."""
    return ContactView(
        alias=row.alias,
        account=row.account_key.hex(),
        state=row.state,
        profile_name=row.profile_name,
        verified=row.verified_at is not None,
        path=PathKind.NONE,
        last_seen=row.last_seen,
        unread=messages.unread(tx, row.id),
        queued=lanes.queued(tx, row.id),
        reason=row.reason,
        intro=row.intro,
    )


def message_views(tx: Tx, rows: Sequence[MessageRow]) -> tuple[MessageView, ...]:
    """Return messages with their reactions and the time of the next try."""
    if not rows:
        return ()
    aliases: dict[int, str] = {}
    found = reactions.of(tx, [row.id for row in rows])
    for row in rows:
        if row.contact_id not in aliases:
            aliases[row.contact_id] = contacts.alias_of(tx, row.contact_id)
    return tuple(_message_view(tx, row, aliases[row.contact_id], found.get(row.id, ())) for row in rows)


def invite_view(tx: Tx, row: InviteRow, *, link: str | None = None) -> InviteView:
    """Return an invite; its link is known only when it is made."""
    user = None if row.used_by is None else contacts.get(tx, row.used_by)
    return InviteView(
        id=row.token_hash.hex()[:16],
        label=row.label,
        link=link,
        one_use=row.one_use,
        created_at=row.created_at,
        expires_at=row.expires_at,
        used_by=None if user is None else user.alias,
    )


def _message_view(tx: Tx, row: MessageRow, alias: str, found: Sequence[reactions.ReactionRow]) -> MessageView:
    waits = row.outgoing and row.status in OPEN
    found_copies = deposits.of_message(tx, row.id) if waits else None
    copies, replicas = found_copies or (None, ())
    return MessageView(
        id=row.message_id.hex(),
        contact=alias,
        outgoing=row.outgoing,
        kind=row.kind,
        text=row.text,
        sent_at=row.sent_at,
        received_at=row.received_at,
        status=row.status,
        status_at=row.status_at,
        reason=_reason(row, copies, replicas),
        path=PathKind(row.path) if row.path else None,
        reply_to=row.reply_to.hex() if row.reply_to else None,
        edited=row.edited_at is not None,
        deleted=row.deleted_at is not None,
        expires_at=row.expires_at,
        reactions=tuple(ReactionView("me" if item.mine else alias, item.emoji) for item in found),
        attempts=row.attempts,
        next_attempt_at=lanes.next_attempt(tx, row.id) if waits else None,
        copies=None if copies is None else CopiesView(copies.stored, copies.of),
    )


def _reason(row: MessageRow, copies: Copies | None, replicas: Sequence[ReplicaCopy]) -> str | None:
    """Return why a message waits where it is: what the direct way says, then what its mailboxes say."""
    if copies is None:
        return row.reason
    troubles = [one.reason for one in replicas if one.reason is not None]
    if row.status is Status.STORED:
        if copies.of == 1 and copies.enough:
            troubles.append(ONE_RELAY)
        return "; ".join(troubles) or None
    if troubles:
        troubles[0] = f"{copies} mailboxes have it: {troubles[0]}"
    return "; ".join(([row.reason] if row.reason else []) + troubles) or None
