"""The rows of a mailbox store, and the statements that each kind of database brings for them.

Owns: queues and messages as rows, `Statements`. Spec: docs/spec/mailbox.md, "Queues". Never touches: SQL
(sqlite_tables.py, postgres_tables.py), when something is read or written (tables.py), what an operation means
(transaction.py).
"""

from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol, TypeAlias

from covey_core.wire.mailbox import StoredMessage

SEQ_MAX: Final = 2**32 - 1
"""The last number that a message of a queue may have."""

MessageKey: TypeAlias = tuple[int, bytes]
"""A message: its queue's number and its id."""


@dataclass(slots=True)
class QueueRow:
    """A queue, while a transaction runs. `admit`: as stored; `asked`: day of its owner's last word."""

    number: int
    recv_id: bytes
    send_id: bytes
    recv_key: bytes
    send_key: bytes | None
    admit: bytes
    messages: int
    bytes: int
    last_seq: int
    asked: int
    changed: bool = False
    grew: bool = False


class Lying(NamedTuple):
    """A message that lies in a queue."""

    seq: int
    expires: int
    size: int


class Remembered(NamedTuple):
    """An acknowledged message, remembered until then (Unix seconds)."""

    seq: int
    until: int


class NewMessage(NamedTuple):
    """A message to be written."""

    queue: int
    seq: int
    expires: int
    mid: bytes
    blob: bytes


class Gone(NamedTuple):
    """A message to be deleted."""

    queue: int
    mid: bytes
    seq: int


class Ended(NamedTuple):
    """A message that was deleted since its time was over."""

    queue: int
    mid: bytes
    size: int


@dataclass(slots=True)
class Change:
    """What all queues hold together, or by how much a transaction has changed it."""

    queues: int = 0
    messages: int = 0
    bytes: int = 0


class Statements(Protocol):
    """What a database does for one open transaction."""

    def begin(self, *, creates: bool) -> Change:
        """Return what all queues hold. `creates`: queues may be made, and nobody else may meanwhile."""
        ...

    # --- queues -------------------------------------------------------------------------------------------------------

    def read_queues(
        self,
        recv_ids: Collection[bytes],
        send_ids: Collection[bytes],
        recv_keys: Collection[bytes],
        changing: Collection[bytes],
    ) -> list[QueueRow]:
        """Return the queues with these ids and keys; those with an id in `changing` nobody else changes meanwhile."""
        ...

    def read_numbered(self, numbers: Collection[int]) -> list[QueueRow]:
        """Return the queues of messages that `delete_ended` deleted."""
        ...

    def read_idle(self, before: int, most: int) -> list[QueueRow]:
        """Return queues whose owner has not asked since the day `before`; nobody else changes them meanwhile."""
        ...

    def insert_queue(self, row: QueueRow) -> int:
        """Make a queue; return its number, which no other queue had before."""
        ...

    def update_admission(self, row: QueueRow) -> None:
        """Write what a queue asks of its writers."""
        ...

    def update_queues(self, rows: Sequence[QueueRow]) -> None:
        """Write what has changed in these queues otherwise."""
        ...

    def update_totals(self, before: Change, change: Change) -> None:
        """Write what all queues hold."""
        ...

    def delete_queue(self, row: QueueRow) -> None:
        """Delete a queue with its messages, remembered ids, keys and tokens."""
        ...

    # --- messages -----------------------------------------------------------------------------------------------------

    def read_lying(self, keys: Sequence[MessageKey]) -> dict[MessageKey, Lying]:
        """Return those of the messages that lie there."""
        ...

    def read_acked(self, keys: Sequence[MessageKey]) -> dict[MessageKey, Remembered]:
        """Return those of the messages that were acknowledged and are remembered."""
        ...

    def read_messages(
        self, row: QueueRow, *, after: int, now: int, most: int, bytes_max: int
    ) -> Generator[StoredMessage, None, None]:
        """Yield up to `most` messages behind number `after` whose time is not over, in their order.

        Messages behind the one with which their sizes are over `bytes_max` need not be yielded.
        """
        ...

    def insert_messages(self, messages: Sequence[NewMessage]) -> None:
        """Write messages."""
        ...

    def delete_messages(self, messages: Sequence[Gone]) -> None:
        """Delete messages."""
        ...

    def delete_ended(self, now: int, most: int) -> list[Ended]:
        """Delete up to so many messages whose time is over."""
        ...

    def insert_acked(self, acked: Mapping[MessageKey, Remembered]) -> None:
        """Remember acknowledged messages, also such as are remembered already."""
        ...

    def delete_acked(self, now: int, most: int) -> int:
        """Forget up to so many acknowledged messages whose time is over; return how many."""
        ...

    # --- keys and tokens ----------------------------------------------------------------------------------------------

    def read_bundle(self, row: QueueRow) -> bytes:
        """Return the bundle; empty when there is none."""
        ...

    def update_bundle(self, row: QueueRow, bundle: bytes) -> None:
        """Replace the bundle."""
        ...

    def insert_keys(self, row: QueueRow, keys: Sequence[bytes]) -> None:
        """Add one-time keys."""
        ...

    def count_keys(self, row: QueueRow) -> int:
        """Return how many one-time keys there are."""
        ...

    def take_key(self, row: QueueRow) -> bytes:
        """Delete the oldest one-time key and return it; empty when there is none."""
        ...

    def read_tokens(self, row: QueueRow) -> dict[bytes, int]:
        """Return the tokens of a queue that were used, and for what (`operations.USES`)."""
        ...

    def write_token(self, row: QueueRow, token: bytes, uses: int) -> None:
        """Note what a token was used for."""
        ...

    def delete_tokens(self, row: QueueRow, tokens: Iterable[bytes]) -> None:
        """Forget tokens."""
        ...
