"""What a transaction knows of a store's tables: read before its operations, written after them.

Owns: the queues and messages that a batch of operations is about, and what is still to be written. Spec:
docs/spec/mailbox.md, "Queues". Never touches: SQL (rows.py says what a store brings), what an operation means
(transaction.py).

One statement for many rows costs a store little more than one for a single row. So everything that a batch asks about
is read at once, and its messages are written and deleted at once.
"""

from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from covey_core.wire.mailbox import StoredMessage
from covey_relay.mailbox import operations as op
from covey_relay.mailbox.operations import Operation
from covey_relay.mailbox.rows import Change, Gone, Lying, MessageKey, NewMessage, QueueRow, Remembered, Statements


@dataclass(slots=True)
class About:
    """What the operations of a batch are about; `changing`: ids of the queues that they may change."""

    recv_ids: set[bytes] = field(default_factory=set)
    send_ids: set[bytes] = field(default_factory=set)
    recv_keys: set[bytes] = field(default_factory=set)
    changing: set[bytes] = field(default_factory=set)

    def add(self, one: Operation) -> None:
        """Take note of what an operation is about."""
        match one:
            case op.Create(recv_key):
                self.recv_keys.add(recv_key)
            case op.FindWritten(send_id) | op.Held(send_id):
                self.send_ids.add(send_id)
            case op.Deposit(send_id) | op.TakeKey(send_id):
                self.send_ids.add(send_id)
                self.changing.add(send_id)
            case op.FindOwned(recv_id) | op.Fetch(recv_id):
                self.recv_ids.add(recv_id)
            case op.Acknowledge(recv_id) | op.Rotate(recv_id) | op.Remove(recv_id) | op.AddKeys(recv_id):
                self.recv_ids.add(recv_id)
                self.changing.add(recv_id)
            case op.Expire():
                pass


class Tables:
    """The tables of a store inside one open transaction, used by `Transaction`."""

    def __init__(self, statements: Statements, operations: Sequence[Operation]) -> None:
        """Read all that the operations are about. The first thing in a transaction."""
        self.statements = statements
        self._by_recv_id: dict[bytes, QueueRow] = {}
        self._by_send_id: dict[bytes, QueueRow] = {}
        self._by_recv_key: dict[bytes, QueueRow] = {}
        self._by_number: dict[int, QueueRow] = {}
        self._new: dict[MessageKey, NewMessage] = {}
        self._gone: list[Gone] = []
        self._remembered: dict[MessageKey, Remembered] = {}
        self._change = Change()
        about = About()
        for one in operations:
            about.add(one)
        self._totals = statements.begin(creates=bool(about.recv_keys))
        self._meet(statements.read_queues(about.recv_ids, about.send_ids, about.recv_keys, about.changing))
        looked_for, perhaps_acked = self._messages_of(operations)
        self._lying: dict[MessageKey, Lying] = statements.read_lying(looked_for) if looked_for else {}
        self._acked: dict[MessageKey, Remembered] = statements.read_acked(perhaps_acked) if perhaps_acked else {}

    def _meet(self, rows: Iterable[QueueRow]) -> None:
        for row in rows:
            self._by_recv_id[row.recv_id] = self._by_send_id[row.send_id] = row
            self._by_recv_key[row.recv_key] = self._by_number[row.number] = row

    def _messages_of(self, operations: Sequence[Operation]) -> tuple[list[MessageKey], list[MessageKey]]:
        """Return the messages that are asked about, and those of them that may have been acknowledged."""
        deposited: set[MessageKey] = set()
        acknowledged: set[MessageKey] = set()
        for one in operations:
            match one:
                case op.Deposit(send_id, mid) | op.FindWritten(send_id, bytes() as mid):
                    if (row := self._by_send_id.get(send_id)) is not None:
                        deposited.add((row.number, mid))
                case op.Held(send_id, mids):
                    if (row := self._by_send_id.get(send_id)) is not None:
                        deposited.update((row.number, mid) for mid in mids)
                case op.Acknowledge(recv_id, mids):
                    if (row := self._by_recv_id.get(recv_id)) is not None:
                        acknowledged.update((row.number, mid) for mid in mids)
                case _:
                    pass
        return [*(deposited | acknowledged)], [*deposited]

    # --- queues -------------------------------------------------------------------------------------------------------

    @property
    def totals(self) -> Change:
        """What all queues held when the transaction began."""
        return self._totals

    @property
    def queues(self) -> int:
        """How many queues there are."""
        return self._totals.queues + self._change.queues

    def owned(self, recv_id: bytes) -> QueueRow | None:
        """Return the queue with this receiving id."""
        return self._by_recv_id.get(recv_id)

    def written(self, send_id: bytes) -> QueueRow | None:
        """Return the queue with this sending id."""
        return self._by_send_id.get(send_id)

    def of_key(self, recv_key: bytes) -> QueueRow | None:
        """Return the queue that this key owns."""
        return self._by_recv_key.get(recv_key)

    def add_queue(self, row: QueueRow) -> None:
        """Make a queue; the store gives it its number."""
        row.number = self.statements.insert_queue(row)
        self._meet((row,))
        self._change.queues += 1

    def remove_queue(self, row: QueueRow) -> None:
        """Remove a queue and all that lies in it."""
        self.flush()
        self.statements.delete_queue(row)
        del self._by_recv_id[row.recv_id], self._by_send_id[row.send_id]
        del self._by_recv_key[row.recv_key], self._by_number[row.number]
        self._change.queues -= 1
        self._change.messages -= row.messages
        self._change.bytes -= row.bytes

    def idle_queues(self, before: int, most: int) -> list[QueueRow]:
        """Return up to so many queues whose owner has not asked since the day `before`."""
        self.flush()
        found = self.statements.read_idle(before, most)
        self._meet(row for row in found if row.number not in self._by_number)
        return [row for one in found if (row := self._by_number[one.number]).asked < before]

    # --- messages -----------------------------------------------------------------------------------------------------

    def lying(self, row: QueueRow, mid: bytes) -> Lying | None:
        """Return a message of this queue, also one whose time is over."""
        return self._lying.get((row.number, mid))

    def acked(self, row: QueueRow, mid: bytes) -> Remembered | None:
        """Return what is remembered of a message that was acknowledged."""
        return self._acked.get((row.number, mid))

    def add_message(self, row: QueueRow, mid: bytes, expires: int, blob: bytes) -> int:
        """Put a message behind the last one; return its number."""
        row.last_seq += 1
        row.grew = True
        self._count(row, 1, len(blob))
        self._lying[row.number, mid] = Lying(row.last_seq, expires, len(blob))
        self._new[row.number, mid] = NewMessage(row.number, row.last_seq, expires, mid, blob)
        return row.last_seq

    def take_messages(self, row: QueueRow, mids: Iterable[bytes]) -> list[tuple[bytes, int]]:
        """Delete those of the messages that lie there; return their ids and numbers."""
        taken: list[tuple[bytes, int]] = []
        size = 0
        for mid in mids:
            one = self._lying.pop((row.number, mid), None)
            if one is None:
                continue
            if self._new.pop((row.number, mid), None) is None:
                self._gone.append(Gone(row.number, mid, one.seq))
            taken.append((mid, one.seq))
            size += one.size
        if taken:
            self._count(row, -len(taken), -size)
        return taken

    def remember(self, row: QueueRow, acked: Iterable[tuple[bytes, int]], until: int) -> None:
        """Remember ids and numbers of acknowledged messages until then."""
        for mid, seq in acked:
            self._acked[row.number, mid] = self._remembered[row.number, mid] = Remembered(seq, until)

    def page(
        self, row: QueueRow, *, after: int, now: int, most: int, bytes_max: int
    ) -> tuple[list[StoredMessage], bool]:
        """Return messages behind number `after` whose time is not over, as `Fetch` says, and whether more lie there."""
        self.flush()
        found: list[StoredMessage] = []
        size = 0
        listing = self.statements.read_messages(row, after=after, now=now, most=most + 1, bytes_max=bytes_max)
        with closing(listing) as listed:
            for one in listed:
                size += len(one.blob)
                if found and (len(found) >= most or size > bytes_max):
                    return found, True
                found.append(one)
        return found, False

    def end_messages(self, now: int, most: int) -> int:
        """Delete up to so many messages whose time is over; return how many."""
        self.flush()
        ended = self.statements.delete_ended(now, most)
        self._meet(self.statements.read_numbered({one.queue for one in ended} - self._by_number.keys()))
        for one in ended:
            self._lying.pop((one.queue, one.mid), None)
            self._count(self._by_number[one.queue], -1, -one.size)
        return len(ended)

    def _count(self, row: QueueRow, messages: int, size: int) -> None:
        row.messages += messages
        row.bytes += size
        row.changed = True
        self._change.messages += messages
        self._change.bytes += size

    # --- writing ------------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write what was noted of messages; before anything else looks at them."""
        if self._gone:
            self.statements.delete_messages(self._gone)
            self._gone = []
        if self._new:
            self.statements.insert_messages([*self._new.values()])
            self._new = {}
        if self._remembered:
            self.statements.insert_acked(self._remembered)
            self._remembered = {}

    def finish(self) -> None:
        """Write what is left to be written: the last thing before COMMIT."""
        self.flush()
        changed = [row for row in self._by_number.values() if row.changed]
        if changed:
            self.statements.update_queues(changed)
        if self._change != Change():
            self.statements.update_totals(self._totals, self._change)
