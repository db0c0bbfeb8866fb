"""What each operation means for the tables of a store, inside one transaction: the same for every store.

Owns: quotas, idempotent deposits, tokens, keys, time. Spec: docs/spec/mailbox.md, "Queues". Never touches: SQL and
BEGIN and COMMIT (sqlite.py, postgres.py), what is read and written when (tables.py), who may ask (policy.py).
"""

from collections.abc import Callable
from typing import Any, Final

from covey_core.errors import ProtocolViolation
from covey_core.wire.mailbox import Admit, AdmitKey, AdmitTokens, New, Purpose
from covey_core.wire.mailbox_codec import decode_command, encode_command
from covey_relay import limits
from covey_relay.limits import MailboxLimits
from covey_relay.mailbox import operations as op
from covey_relay.mailbox.operations import USES, Operation, Outcome, Refusal
from covey_relay.mailbox.policy import Queue
from covey_relay.mailbox.rows import SEQ_MAX, Lying, QueueRow
from covey_relay.mailbox.tables import Tables

_DAY_SECONDS: Final = 86_400


class Transaction:
    """The operations of one open transaction."""

    def __init__(self, tables: Tables, bounds: MailboxLimits, *, now: int) -> None:
        self._tables = tables
        self._rows = tables.statements
        self._bounds = bounds
        self._now = now

    def do(self, operation: Operation) -> Outcome:
        """Do one operation; return what became of it. What it refuses it has not changed."""
        return _DOERS[type(operation)](self, operation)

    # --- queues -------------------------------------------------------------------------------------------------------

    def create(self, asked: op.Create) -> Outcome:
        """See `operations.Create`."""
        row = self._tables.of_key(asked.recv_key)
        if row is not None:
            if _admission(row.admit) != asked.admit:
                return Refusal.GONE
            self._cared_for(row)
            return op.Created(row.recv_id, row.send_id)
        if self._tables.queues >= self._bounds.queues:
            return Refusal.QUEUES
        stored = encode_command(New(asked.recv_key, asked.admit))
        today = self._now // _DAY_SECONDS
        self._tables.add_queue(
            QueueRow(0, asked.recv_id, asked.send_id, asked.recv_key, _send_key(asked.admit), stored, 0, 0, 0, today)
        )
        return op.Created(asked.recv_id, asked.send_id)

    def find_owned(self, asked: op.FindOwned) -> Outcome:
        """See `operations.FindOwned`."""
        row = self._tables.owned(asked.recv_id)
        return Refusal.GONE if row is None else op.Found(_queue(row))

    def find_written(self, asked: op.FindWritten) -> Outcome:
        """See `operations.FindWritten`."""
        row = self._tables.written(asked.send_id)
        if row is None:
            return Refusal.GONE
        known = None if asked.mid is None else self._known(row, asked.mid, self._tables.lying(row, asked.mid))
        return op.Found(_queue(row), known)

    def rotate(self, asked: op.Rotate) -> Outcome:
        """See `operations.Rotate`."""
        row = self._owned(asked.recv_id)
        if row is None:
            return Refusal.GONE
        row.admit, row.send_key = encode_command(New(row.recv_key, asked.admit)), _send_key(asked.admit)
        self._rows.update_admission(row)
        kept = asked.admit.secret_hashes if isinstance(asked.admit, AdmitTokens) else ()
        self._rows.delete_tokens(row, [token for token in self._rows.read_tokens(row) if token not in kept])
        return True

    def remove(self, asked: op.Remove) -> Outcome:
        """See `operations.Remove`."""
        row = self._tables.owned(asked.recv_id)
        if row is None:
            return Refusal.GONE
        self._tables.remove_queue(row)
        return True

    def _owned(self, recv_id: bytes) -> QueueRow | None:
        """Return the queue, and note that its owner asked for it today."""
        row = self._tables.owned(recv_id)
        if row is not None:
            self._cared_for(row)
        return row

    def _cared_for(self, row: QueueRow) -> None:
        if row.asked != self._now // _DAY_SECONDS:
            row.asked, row.changed = self._now // _DAY_SECONDS, True

    # --- messages -----------------------------------------------------------------------------------------------------

    def deposit(self, asked: op.Deposit) -> Outcome:
        """See `operations.Deposit`."""
        row = self._tables.written(asked.send_id)
        if row is None or row.send_key != asked.send_key:
            return Refusal.GONE
        lying = self._tables.lying(row, asked.mid)
        known = self._known(row, asked.mid, lying)
        if known is not None:
            return op.Deposited(known, new=False)
        if lying is not None:  # its time is over, and it was not swept yet: it may come again
            self._tables.take_messages(row, (asked.mid,))
        full = row.messages >= self._bounds.queue_messages or row.bytes + len(asked.blob) > self._bounds.queue_bytes
        if full or row.last_seq >= SEQ_MAX:
            return Refusal.QUOTA
        if asked.token is not None and not self._use(row, asked.token, USES[Purpose.PUT]):
            return Refusal.TOKEN
        return op.Deposited(self._tables.add_message(row, asked.mid, asked.expires_at, asked.blob), new=True)

    def held(self, asked: op.Held) -> Outcome:
        """See `operations.Held`."""
        row = self._tables.written(asked.send_id)
        if row is None:
            return Refusal.GONE
        return tuple(mid for mid in asked.mids if self._known(row, mid, self._tables.lying(row, mid)) is not None)

    def fetch(self, asked: op.Fetch) -> Outcome:
        """See `operations.Fetch`."""
        row = self._owned(asked.recv_id)
        if row is None:
            return Refusal.GONE
        found, more = self._tables.page(
            row,
            after=min(asked.after, SEQ_MAX),
            now=self._now,
            most=asked.messages_max,
            bytes_max=asked.bytes_max,
        )
        return op.Fetched(tuple(found), more)

    def acknowledge(self, asked: op.Acknowledge) -> Outcome:
        """See `operations.Acknowledge`."""
        row = self._owned(asked.recv_id)
        if row is None:
            return Refusal.GONE
        taken = self._tables.take_messages(row, asked.mids)
        self._tables.remember(row, taken, self._now + limits.MAILBOX_ACKED_SECONDS)
        return len(taken)

    def _known(self, row: QueueRow, mid: bytes, lying: Lying | None) -> int | None:
        """Return the number of a message that lies there and has not ended, or was acknowledged lately."""
        if lying is not None and lying.expires > self._now:
            return lying.seq
        acked = self._tables.acked(row, mid)
        return acked.seq if acked is not None and acked.until > self._now else None

    # --- keys and tokens ----------------------------------------------------------------------------------------------

    def add_keys(self, asked: op.AddKeys) -> Outcome:
        """See `operations.AddKeys`."""
        row = self._owned(asked.recv_id)
        if row is None:
            return Refusal.GONE
        count = self._rows.count_keys(row) + len(asked.keys)
        if count > limits.MAILBOX_QUEUE_KEYS:
            return Refusal.QUOTA
        self._rows.insert_keys(row, asked.keys)
        if asked.bundle:
            self._rows.update_bundle(row, asked.bundle)
        return count

    def take_key(self, asked: op.TakeKey) -> Outcome:
        """See `operations.TakeKey`."""
        row = self._tables.written(asked.send_id)
        if row is None or row.send_key != asked.send_key:
            return Refusal.GONE
        bundle = self._rows.read_bundle(row)
        if not bundle:
            return Refusal.EMPTY
        if asked.token is not None and not self._use(row, asked.token, USES[Purpose.TAKE]):
            if not _admits(row, asked.token):
                return Refusal.TOKEN
            return op.Taken(bundle, b"", left=0)  # it had its key; that answer may have been lost
        one_time = self._rows.take_key(row)
        return op.Taken(bundle, one_time, left=self._rows.count_keys(row) if one_time else 0)

    def _use(self, row: QueueRow, token: bytes, use: int) -> bool:
        """Note that the token was used for this; False when it was before, or the queue asks for others now."""
        if not _admits(row, token):
            return False
        uses = self._rows.read_tokens(row).get(token, 0)
        if uses & use:
            return False
        self._rows.write_token(row, token, uses | use)
        return True

    # --- time ---------------------------------------------------------------------------------------------------------

    def expire(self, asked: op.Expire) -> Outcome:
        """See `operations.Expire`."""
        ended = self._tables.end_messages(self._now, asked.most)
        forgotten = self._rows.delete_acked(self._now, asked.most)
        idle_before = (self._now - limits.MAILBOX_IDLE_SECONDS) // _DAY_SECONDS
        idle = self._tables.idle_queues(idle_before, limits.MAILBOX_IDLE_STEP)
        for row in idle:
            self._tables.remove_queue(row)
        more = asked.most in {ended, forgotten} or len(idle) >= limits.MAILBOX_IDLE_STEP
        return op.Expired(ended, len(idle), more)


def _queue(row: QueueRow) -> Queue:
    return Queue(row.recv_key, _admission(row.admit), row.messages)


def _admits(row: QueueRow, token: bytes) -> bool:
    """Whether the queue lets a token in now, used or not."""
    admit = _admission(row.admit)
    return isinstance(admit, AdmitTokens) and token in admit.secret_hashes


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
