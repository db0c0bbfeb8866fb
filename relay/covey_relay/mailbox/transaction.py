"""What each operation does to the tables of the SQLite store, inside one transaction.

Owns: the statements on messages, keys and tokens; making and removing queues. Spec: docs/spec/mailbox.md, "Queues".
Never touches: BEGIN and COMMIT (sqlite.py), rows of queues (tables.py), who may ask.
"""

import sqlite3
from collections.abc import Callable
from typing import Any, Final

from covey_core.errors import ProtocolViolation
from covey_core.wire.mailbox import Admit, AdmitKey, AdmitTokens, New, Purpose, StoredMessage
from covey_core.wire.mailbox_codec import decode_command, encode_command
from covey_relay import limits
from covey_relay.limits import MailboxLimits
from covey_relay.mailbox import operations as op
from covey_relay.mailbox.operations import USES, Operation, Outcome, Refusal
from covey_relay.mailbox.policy import Queue
from covey_relay.mailbox.tables import SEQ_BITS, SEQ_MAX, QueueRow, Rows

_DAY_SECONDS: Final = 86_400


class Transaction:
    """The operations of one open transaction; `finish` before COMMIT."""

    def __init__(self, raw: sqlite3.Connection, bounds: MailboxLimits, *, now: int) -> None:
        self._raw = raw
        self._bounds = bounds
        self._now = now
        self._rows = Rows(raw)

    def do(self, operation: Operation) -> Outcome:
        """Do one operation; return what became of it. What it refuses it has not changed."""
        return _DOERS[type(operation)](self, operation)

    def finish(self) -> None:
        """Write back the rows of queues, and the totals."""
        self._rows.write_back()

    # --- queues -------------------------------------------------------------------------------------------------------

    def create(self, asked: op.Create) -> Outcome:
        """See `operations.Create`."""
        row = self._rows.find("recv_key", asked.recv_key)
        if row is not None:
            if _admission(row.admit) != asked.admit:
                return Refusal.GONE
            self._cared_for(row.recv_id)
            return op.Created(row.recv_id, row.send_id)
        if self._rows.queues >= self._bounds.queues:
            return Refusal.QUEUES
        self._raw.execute(
            "INSERT INTO queues (recv_id, send_id, recv_key, send_key, admit, asked) VALUES (?, ?, ?, ?, ?, ?)",
            (
                asked.recv_id,
                asked.send_id,
                asked.recv_key,
                _send_key(asked.admit),
                encode_command(New(asked.recv_key, asked.admit)),
                self._now // _DAY_SECONDS,
            ),
        )
        self._rows.queues += 1
        return op.Created(asked.recv_id, asked.send_id)

    def find_owned(self, asked: op.FindOwned) -> Outcome:
        """See `operations.FindOwned`."""
        row = self._rows.find("recv_id", asked.recv_id)
        if row is None:
            return Refusal.GONE
        return op.Found(Queue(row.recv_key, _admission(row.admit), row.messages))

    def find_written(self, asked: op.FindWritten) -> Outcome:
        """See `operations.FindWritten`."""
        row = self._rows.find("send_id", asked.send_id)
        if row is None:
            return Refusal.GONE
        known = None if asked.mid is None else self._known(row, asked.mid, self._lying(row, asked.mid))
        return op.Found(Queue(row.recv_key, _admission(row.admit), row.messages), known)

    def rotate(self, asked: op.Rotate) -> Outcome:
        """See `operations.Rotate`."""
        row = self._cared_for(asked.recv_id)
        if row is None:
            return Refusal.GONE
        row.admit, row.send_key = encode_command(New(row.recv_key, asked.admit)), _send_key(asked.admit)
        self._raw.execute(
            "UPDATE queues SET admit = ?, send_key = ? WHERE number = ?", (row.admit, row.send_key, row.number)
        )
        kept = asked.admit.secret_hashes if isinstance(asked.admit, AdmitTokens) else ()
        used = self._raw.execute("SELECT hash FROM tokens WHERE queue = ?", (row.number,)).fetchall()
        self._raw.executemany(
            "DELETE FROM tokens WHERE queue = ? AND hash = ?",
            [(row.number, token) for (token,) in used if token not in kept],
        )
        return True

    def remove(self, asked: op.Remove) -> Outcome:
        """See `operations.Remove`."""
        row = self._rows.find("recv_id", asked.recv_id)
        if row is None:
            return Refusal.GONE
        self._remove(row)
        return True

    def _cared_for(self, recv_id: bytes) -> QueueRow | None:
        """Return the queue, and note that its owner asked for it today."""
        row = self._rows.find("recv_id", recv_id)
        if row is not None and row.asked != self._now // _DAY_SECONDS:
            row.asked, row.changed = self._now // _DAY_SECONDS, True
        return row

    def _remove(self, row: QueueRow) -> None:
        self._raw.execute("DELETE FROM messages WHERE place BETWEEN ? AND ?", (row.first_place, row.last_place))
        for table in ("acked", "keys", "tokens"):
            self._raw.execute(f"DELETE FROM {table} WHERE queue = ?", (row.number,))  # noqa: S608 - our own names
        self._raw.execute("DELETE FROM queues WHERE number = ?", (row.number,))
        self._rows.removed(row)

    # --- messages -----------------------------------------------------------------------------------------------------

    def deposit(self, asked: op.Deposit) -> Outcome:
        """See `operations.Deposit`."""
        row = self._rows.find("send_id", asked.send_id)
        if row is None or row.send_key != asked.send_key:
            return Refusal.GONE
        lying = self._lying(row, asked.mid)
        known = self._known(row, asked.mid, lying)
        if known is not None:
            return op.Deposited(known, new=False)
        if lying is not None:  # its time is over, and it was not swept yet: it may come again
            self._raw.execute("DELETE FROM messages WHERE place = ?", (lying[0],))
            self._rows.count(row, -1, -lying[2])
        full = row.messages >= self._bounds.queue_messages or row.bytes + len(asked.blob) > self._bounds.queue_bytes
        if full or row.last_seq >= SEQ_MAX:
            return Refusal.QUOTA
        if asked.token is not None and not self._use(row, asked.token, USES[Purpose.PUT]):
            return Refusal.TOKEN
        row.last_seq += 1
        self._rows.count(row, 1, len(asked.blob))
        self._raw.execute(
            "INSERT INTO messages (place, mid, expires, blob) VALUES (?, ?, ?, ?)",
            (row.first_place | row.last_seq, asked.mid, asked.expires_at, asked.blob),
        )
        return op.Deposited(row.last_seq, new=True)

    def held(self, asked: op.Held) -> Outcome:
        """See `operations.Held`."""
        row = self._rows.find("send_id", asked.send_id)
        if row is None:
            return Refusal.GONE
        return tuple(mid for mid in asked.mids if self._known(row, mid, self._lying(row, mid)) is not None)

    def fetch(self, asked: op.Fetch) -> Outcome:
        """See `operations.Fetch`."""
        row = self._cared_for(asked.recv_id)
        if row is None:
            return Refusal.GONE
        found: list[StoredMessage] = []
        size = 0
        cursor = self._raw.execute(
            "SELECT place, mid, blob FROM messages WHERE place > ? AND place <= ? AND expires > ? ORDER BY place",
            (row.first_place | min(asked.after, SEQ_MAX), row.last_place, self._now),
        )
        try:
            for place, mid, blob in cursor:
                size += len(blob)
                if found and (len(found) >= asked.messages_max or size > asked.bytes_max):
                    return op.Fetched(tuple(found), more=True)
                found.append(StoredMessage(place & SEQ_MAX, mid, blob))
        finally:
            cursor.close()
        return op.Fetched(tuple(found), more=False)

    def acknowledge(self, asked: op.Acknowledge) -> Outcome:
        """See `operations.Acknowledge`."""
        row = self._cared_for(asked.recv_id)
        if row is None:
            return Refusal.GONE
        looked = ((mid, self._lying(row, mid)) for mid in asked.mids)
        there = [(mid, lying[0], lying[2]) for mid, lying in looked if lying is not None]
        self._raw.executemany("DELETE FROM messages WHERE place = ?", [(place,) for _, place, _ in there])
        until = self._now + limits.MAILBOX_ACKED_SECONDS
        self._raw.executemany(
            "INSERT OR REPLACE INTO acked (queue, mid, seq, until) VALUES (?, ?, ?, ?)",
            [(row.number, mid, place & SEQ_MAX, until) for mid, place, _ in there],
        )
        self._rows.count(row, -len(there), -sum(size for _, _, size in there))
        return len(there)

    def _lying(self, row: QueueRow, mid: bytes) -> tuple[int, int, int] | None:
        """Return row number, end and size of a message of this queue."""
        found: tuple[int, int, int] | None = self._raw.execute(
            "SELECT place, expires, length(blob) FROM messages WHERE mid = ? AND place BETWEEN ? AND ?",
            (mid, row.first_place, row.last_place),
        ).fetchone()
        return found

    def _known(self, row: QueueRow, mid: bytes, lying: tuple[int, int, int] | None) -> int | None:
        """Return the number of a message that lies there and has not ended, or was acknowledged lately."""
        if lying is not None and lying[1] > self._now:
            return lying[0] & SEQ_MAX
        found = self._raw.execute(
            "SELECT seq FROM acked WHERE queue = ? AND mid = ? AND until > ?", (row.number, mid, self._now)
        ).fetchone()
        return None if found is None else int(found[0])

    # --- keys and tokens ----------------------------------------------------------------------------------------------

    def add_keys(self, asked: op.AddKeys) -> Outcome:
        """See `operations.AddKeys`."""
        row = self._cared_for(asked.recv_id)
        if row is None:
            return Refusal.GONE
        count = self._keys_of(row) + len(asked.keys)
        if count > limits.MAILBOX_QUEUE_KEYS:
            return Refusal.QUOTA
        self._raw.executemany("INSERT INTO keys (queue, key) VALUES (?, ?)", [(row.number, key) for key in asked.keys])
        if asked.bundle:
            self._raw.execute("UPDATE queues SET bundle = ? WHERE number = ?", (asked.bundle, row.number))
        return count

    def take_key(self, asked: op.TakeKey) -> Outcome:
        """See `operations.TakeKey`."""
        row = self._rows.find("send_id", asked.send_id)
        if row is None or row.send_key != asked.send_key:
            return Refusal.GONE
        (bundle,) = self._raw.execute("SELECT bundle FROM queues WHERE number = ?", (row.number,)).fetchone()
        if not bundle:
            return Refusal.EMPTY
        if asked.token is not None and not self._use(row, asked.token, USES[Purpose.TAKE]):
            return Refusal.TOKEN
        oldest = self._raw.execute(
            "SELECT number, key FROM keys WHERE queue = ? ORDER BY number LIMIT 1", (row.number,)
        ).fetchone()
        if oldest is None:
            return op.Taken(bundle, b"", left=0)
        self._raw.execute("DELETE FROM keys WHERE number = ?", (oldest[0],))
        return op.Taken(bundle, oldest[1], left=self._keys_of(row))

    def _keys_of(self, row: QueueRow) -> int:
        return int(self._raw.execute("SELECT count(*) FROM keys WHERE queue = ?", (row.number,)).fetchone()[0])

    def _use(self, row: QueueRow, token: bytes, use: int) -> bool:
        """Note that the token was used for this; False when it was before, or the queue asks for others now."""
        admit = _admission(row.admit)
        if not isinstance(admit, AdmitTokens) or token not in admit.secret_hashes:
            return False
        found = self._raw.execute(
            "SELECT uses FROM tokens WHERE queue = ? AND hash = ?", (row.number, token)
        ).fetchone()
        uses = 0 if found is None else int(found[0])
        if uses & use:
            return False
        self._raw.execute("INSERT OR REPLACE INTO tokens VALUES (?, ?, ?)", (row.number, token, uses | use))
        return True

    # --- time ---------------------------------------------------------------------------------------------------------

    def expire(self, asked: op.Expire) -> Outcome:
        """See `operations.Expire`."""
        ended = self._raw.execute(
            "SELECT place, length(blob) FROM messages WHERE expires <= ? LIMIT ?", (self._now, asked.most)
        ).fetchall()
        self._raw.executemany("DELETE FROM messages WHERE place = ?", [(place,) for place, _ in ended])
        for place, size in ended:
            row = self._rows.find("number", place >> SEQ_BITS)
            if row is not None:
                self._rows.count(row, -1, -size)
        forgotten = self._raw.execute(
            "DELETE FROM acked WHERE (queue, mid) IN (SELECT queue, mid FROM acked WHERE until <= ? LIMIT ?)",
            (self._now, asked.most),
        ).rowcount
        idle_before = (self._now - limits.MAILBOX_IDLE_SECONDS) // _DAY_SECONDS
        idle = self._raw.execute(
            "SELECT recv_id FROM queues WHERE asked < ? LIMIT ?", (idle_before, limits.MAILBOX_IDLE_STEP)
        ).fetchall()
        removed = 0
        for (recv_id,) in idle:
            row = self._rows.find("recv_id", recv_id)
            if row is not None and row.asked < idle_before:
                self._remove(row)
                removed += 1
        more = asked.most in {len(ended), forgotten} or len(idle) == limits.MAILBOX_IDLE_STEP
        return op.Expired(len(ended), removed, more)


def _admission(stored: bytes) -> Admit:
    command = decode_command(stored)
    if not isinstance(command, New):
        raise ProtocolViolation("a queue whose admission is none")
    return command.admit


def _send_key(admit: Admit) -> bytes | None:
    return admit.send_key if isinstance(admit, AdmitKey) else None


_DOERS: Final[dict[type, Callable[[Transaction, Any], Outcome]]] = {
    op.Create: Transaction.create,
    op.FindOwned: Transaction.find_owned,
    op.FindWritten: Transaction.find_written,
    op.Deposit: Transaction.deposit,
    op.Held: Transaction.held,
    op.Fetch: Transaction.fetch,
    op.Acknowledge: Transaction.acknowledge,
    op.Rotate: Transaction.rotate,
    op.Remove: Transaction.remove,
    op.AddKeys: Transaction.add_keys,
    op.TakeKey: Transaction.take_key,
    op.Expire: Transaction.expire,
}
