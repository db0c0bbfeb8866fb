"""Messages, as they are kept: outgoing and incoming.

Owns: table `messages`; a message is known by contact, direction and its 16-byte id, so one that comes again is not
stored again. A status only moves forward (protocol/status.py). Never touches: the outbox, the meaning of `body`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from covey_node.limits import HISTORY_PAGE_MESSAGES
from covey_node.protocol.status import Status, advance
from covey_node.store.tx import Row, Tx


@dataclass(frozen=True, slots=True)
class MessageRow:
    """One message. `id` is 0 until stored and then grows with the order of arrival here."""

    contact_id: int
    outgoing: bool
    message_id: bytes  # 16 bytes, random, chosen by the author
    kind: str  # text | notice
    body: bytes  # the encoded content as it was sent or received
    text: str | None  # what is shown; edits applied; None when deleted
    sent_at: float  # the author's clock
    status: Status
    status_at: float
    received_at: float | None = None  # our clock, incoming ones
    reply_to: bytes | None = None  # message id, 16 bytes
    reason: str | None = None
    path: str | None = None
    attempts: int = 0
    read_at: float | None = None  # our user read it (incoming)
    edited_at: float | None = None
    deleted_at: float | None = None
    disappear_seconds: float | None = None
    expires_at: float | None = None  # it disappears here then
    id: int = 0


_COLUMNS = (
    "contact_id, outgoing, message_id, kind, body, text, sent_at, status, status_at, received_at, reply_to, reason, "
    "path, attempts, read_at, edited_at, deleted_at, disappear_seconds, expires_at, id"
)
_SELECT = f"SELECT {_COLUMNS} FROM messages"  # noqa: S608 - constant


def _row(values: Row) -> MessageRow:
    contact_id, outgoing, message_id, kind, body, text, sent_at, status, *rest = values
    return MessageRow(contact_id, bool(outgoing), message_id, kind, body, text, sent_at, Status(status), *rest)


def add(tx: Tx, row: MessageRow) -> MessageRow | None:
    """Store a message; return it with its id, or None when it is here already (then nothing was changed)."""
    row_id = tx.insert_new(
        "INSERT INTO messages (contact_id, outgoing, message_id, kind, body, text, sent_at, status, status_at, "
        "received_at, reply_to, reason, path, attempts, read_at, edited_at, deleted_at, disappear_seconds, expires_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (message_id, contact_id, outgoing) DO NOTHING",
        (
            row.contact_id,
            row.outgoing,
            row.message_id,
            row.kind,
            row.body,
            row.text,
            row.sent_at,
            row.status,
            row.status_at,
            row.received_at,
            row.reply_to,
            row.reason,
            row.path,
            row.attempts,
            row.read_at,
            row.edited_at,
            row.deleted_at,
            row.disappear_seconds,
            row.expires_at,
        ),
    )
    return None if row_id is None else replace(row, id=row_id)


def get(tx: Tx, row_id: int) -> MessageRow | None:
    """Return the message with that row id, or None."""
    row = tx.one(f"{_SELECT} WHERE id = ?", (row_id,))
    return None if row is None else _row(row)


def find(tx: Tx, contact_id: int, message_id: bytes, *, outgoing: bool) -> MessageRow | None:
    """Return a contact's message by its author's id, or None."""
    row = tx.one(
        f"{_SELECT} WHERE contact_id = ? AND outgoing = ? AND message_id = ?", (contact_id, outgoing, message_id)
    )
    return None if row is None else _row(row)


def with_id(tx: Tx, message_id: bytes) -> tuple[MessageRow, ...]:
    """Return the messages with that id over all contacts (ours is random, so it is one unless somebody copied it)."""
    return tuple(_row(row) for row in tx.all(f"{_SELECT} WHERE message_id = ? ORDER BY id LIMIT 8", (message_id,)))


def page(tx: Tx, contact_id: int, *, limit: int, before: int | None = None) -> tuple[MessageRow, ...]:
    """Return up to `limit` messages (500 at most), newest first, that stand before row id `before`."""
    rows = tx.all(
        f"{_SELECT} WHERE contact_id = ? AND id < ? ORDER BY id DESC LIMIT ?",
        (contact_id, 2**62 if before is None else before, max(0, min(limit, HISTORY_PAGE_MESSAGES))),
    )
    return tuple(_row(row) for row in rows)


def move(
    tx: Tx, row_id: int, status: Status, *, now: float, reason: str | None = None, path: str | None = None
) -> MessageRow | None:
    """Report a status; return the message when that changed it, None when the order of statuses forbids it.

    A `reason` for a message that stays open is stored with `set_reason`.
    """
    row = get(tx, row_id)
    if row is None or advance(row.status, status) == row.status:
        return None
    tx.execute(
        "UPDATE messages SET status = ?, status_at = ?, reason = ?, path = coalesce(?, path) WHERE id = ?",
        (status, now, reason, path, row_id),
    )
    return replace(row, status=status, status_at=now, reason=reason, path=path or row.path)


def set_reason(tx: Tx, row_id: int, reason: str | None) -> bool:
    """Say in words why a message still waits; False when nothing changed (or it waits no more)."""
    changed = tx.execute(
        "UPDATE messages SET reason = ? WHERE id = ? AND status IN ('queued', 'sent') AND reason IS NOT ?",
        (reason, row_id, reason),
    )
    return changed == 1


def edit(tx: Tx, row_id: int, *, text: str, body: bytes, now: float) -> bool:
    """Replace a message's text; False when it is deleted or the edit is older than the last one."""
    changed = tx.execute(
        "UPDATE messages SET text = ?, body = ?, edited_at = ? WHERE id = ? AND deleted_at IS NULL "
        "AND coalesce(edited_at, 0) <= ?",
        (text, body, now, row_id, now),
    )
    return changed == 1


def delete(tx: Tx, row_id: int, *, now: float) -> bool:
    """Empty a message and mark it deleted; the row stays, so that it cannot come again. False when it was deleted."""
    changed = tx.execute(
        "UPDATE messages SET text = NULL, body = X'', deleted_at = ?, expires_at = NULL "
        "WHERE id = ? AND deleted_at IS NULL",
        (now, row_id),
    )
    tx.execute("DELETE FROM reactions WHERE message_row = ?", (row_id,))
    return changed == 1


def unread(tx: Tx, contact_id: int | None = None) -> int:
    """Return how many incoming messages our user has not read, of one contact or of all."""
    if contact_id is None:
        return tx.number("SELECT count(*) FROM messages WHERE outgoing = 0 AND read_at IS NULL")
    return tx.number(
        "SELECT count(*) FROM messages WHERE contact_id = ? AND outgoing = 0 AND read_at IS NULL", (contact_id,)
    )


def mark_read(tx: Tx, contact_id: int, *, now: float, limit: int = HISTORY_PAGE_MESSAGES) -> tuple[MessageRow, ...]:
    """Mark a contact's unread messages as read, oldest first, `limit` at one time; return them as they are now.

    A disappearing message's time begins now.
    """
    rows = tx.all(
        f"{_SELECT} WHERE contact_id = ? AND outgoing = 0 AND read_at IS NULL ORDER BY id LIMIT ?", (contact_id, limit)
    )
    read = [_read(_row(row), now=now) for row in rows]
    tx.execute_many(
        "UPDATE messages SET read_at = ?, expires_at = ? WHERE id = ?",
        [(row.read_at, row.expires_at, row.id) for row in read],
    )
    return tuple(read)


def _read(row: MessageRow, *, now: float) -> MessageRow:
    ends = row.expires_at
    if ends is None and row.disappear_seconds is not None and row.deleted_at is None:
        ends = now + row.disappear_seconds
    return replace(row, read_at=now, expires_at=ends)


def next_expiry(tx: Tx) -> float | None:
    """Return when the next message disappears, or None."""
    row = tx.one("SELECT min(expires_at) FROM messages WHERE expires_at IS NOT NULL")
    return None if row is None or row[0] is None else float(row[0])


def disappear(tx: Tx, *, now: float, limit: int = HISTORY_PAGE_MESSAGES) -> tuple[MessageRow, ...]:
    """Empty the messages whose time is over, `limit` at one time; return them as they were."""
    rows = tx.all(
        f"{_SELECT} WHERE expires_at IS NOT NULL AND expires_at <= ? ORDER BY expires_at LIMIT ?", (now, limit)
    )
    gone = tuple(_row(row) for row in rows)
    for row in gone:
        delete(tx, row.id, now=now)
    return gone
