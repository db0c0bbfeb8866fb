"""What a mailbox store can be asked, and what it answers: the interface that every store fulfils.

Owns: operations and their outcomes as values, `MailboxStore`. Spec: docs/spec/mailbox.md, "Queues". Never touches: who
may ask (policy.py), how something is stored (sqlite.py, postgres.py), waiting (line.py). Times are Unix seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from covey_core.errors import CoveyError
from covey_core.wire.mailbox import Admit, Purpose, StoredMessage
from covey_relay.mailbox.policy import Queue


class StoreFailed(CoveyError):
    """The store could not do what was asked and kept nothing of it; the text says why."""


class Refusal(Enum):
    """Why an operation was not done. Nothing was changed then."""

    GONE = "gone"
    """There is no such queue, or it asks for something else than when the command was judged."""
    QUOTA = "quota"
    """The queue is full of messages, bytes or keys."""
    QUEUES = "queues"
    """There are as many queues as may be."""
    TOKEN = "token"  # noqa: S105 - the name of a reason
    """The token was used for this before."""
    EMPTY = "empty"
    """No bundle was stocked."""
    DISK = "disk"
    """The store may not grow."""


# --- operations -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Create:
    """Make a queue under two random ids, unless `recv_key` has one. -> Created | GONE (other admission) | QUEUES."""

    recv_key: bytes
    admit: Admit
    recv_id: bytes
    send_id: bytes


@dataclass(frozen=True, slots=True)
class FindOwned:
    """-> Found | GONE. Changes nothing: nobody has shown yet that he is the owner.

    `Fetch`, `Acknowledge`, `Rotate`, `AddKeys` and a repeated `Create` note that the owner still cares for the queue.
    """

    recv_id: bytes


@dataclass(frozen=True, slots=True)
class FindWritten:
    """-> Found | GONE; with the number of the message `mid`, if it need not be deposited again."""

    send_id: bytes
    mid: bytes | None = None


@dataclass(frozen=True, slots=True)
class Deposit:
    """-> Deposited | GONE | QUOTA | TOKEN. `send_key`: what the signature was checked with, None for none."""

    send_id: bytes
    mid: bytes
    blob: bytes = field(repr=False)
    expires_at: int
    send_key: bytes | None
    token: bytes | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """-> those of `mids` that lie in the queue or were acknowledged lately, in their order | GONE."""

    send_id: bytes
    mids: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Fetch:
    """-> Fetched | GONE: messages after `after`, at least one if there is one, else within both bounds."""

    recv_id: bytes
    after: int
    messages_max: int
    bytes_max: int


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """-> how many were there and are deleted now | GONE."""

    recv_id: bytes
    mids: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Rotate:
    """-> True | GONE."""

    recv_id: bytes
    admit: Admit


@dataclass(frozen=True, slots=True)
class Remove:
    """-> True | GONE."""

    recv_id: bytes


@dataclass(frozen=True, slots=True)
class AddKeys:
    """-> the number of keys now | GONE | QUOTA. An empty `bundle` leaves the one that is there."""

    recv_id: bytes
    keys: tuple[bytes, ...]
    bundle: bytes


@dataclass(frozen=True, slots=True)
class TakeKey:
    """-> Taken | GONE | TOKEN | EMPTY. `send_key` as in Deposit. A token that had its key is given the bundle alone."""

    send_id: bytes
    send_key: bytes | None
    token: bytes | None = None


@dataclass(frozen=True, slots=True)
class Expire:
    """-> Expired: at most `most` messages, and as many remembered ids and idle queues, whose time is over."""

    most: int


Operation = (
    Create
    | FindOwned
    | FindWritten
    | Deposit
    | Held
    | Fetch
    | Acknowledge
    | Rotate
    | Remove
    | AddKeys
    | TakeKey
    | Expire
)

GROWING = (Create, Deposit, AddKeys)
"""Operations that take room: refused with DISK when the store may not grow; all others still work then."""

READING = (FindOwned, FindWritten, Held, Fetch)
"""Operations that are done even where nothing can be written. Then `Expire` finds nothing, and all others get DISK."""

USES = {Purpose.PUT: 1, Purpose.TAKE: 2}
"""What a token was used for, as bits."""


# --- outcomes ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Created:
    """The queue's ids, fresh or those that it had."""

    recv_id: bytes
    send_id: bytes


@dataclass(frozen=True, slots=True)
class Found:
    """A queue; `known`: the number of the message that was asked about."""

    queue: Queue
    known: int | None = None


@dataclass(frozen=True, slots=True)
class Deposited:
    """The message's number; `new`: it was not there before."""

    seq: int
    new: bool


@dataclass(frozen=True, slots=True)
class Fetched:
    """Messages in their order; `more`: others lie behind them."""

    messages: tuple[StoredMessage, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class Taken:
    """The bundle and a one-time key, empty when none was left; `left`: how many more are there."""

    bundle: bytes
    one_time: bytes
    left: int


@dataclass(frozen=True, slots=True)
class Expired:
    """How many messages and queues went; `more`: others wait to go."""

    messages: int
    queues: int
    more: bool


Outcome = Created | Found | Deposited | Fetched | Taken | Expired | tuple[bytes, ...] | int | Refusal


@dataclass(frozen=True, slots=True)
class Usage:
    """What a store holds: bytes in use (of those that it may take), queues, and when the next message ends.

    `missing_bytes`: of those that it may take the disk has so many no longer, since others have filled it.
    """

    used_bytes: int
    queues: int
    messages: int
    earliest_end: int | None
    missing_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Arrived:
    """Messages that came to queues through other relays that use the same store.

    `recv_keys`: the keys that own the queues (32 bytes each). `missed`: there may be others, in any queue.
    """

    recv_keys: tuple[bytes, ...]
    missed: bool = False


class Arrivals(Protocol):
    """What other relays deposit in a store that they share; for a thread of its own, beside the store's."""

    def wait(self, *, seconds: float) -> Arrived | None:
        """Wait at most so long; return what arrived, None for nothing. A lost connection is opened again here."""
        ...

    def close(self) -> None:
        """Hear no more."""
        ...


class MailboxStore(Protocol):
    """A store. Called by one thread at a time; what was returned by `apply` is on the disk."""

    def apply(self, operations: Sequence[Operation], *, now: int) -> list[Outcome]:
        """Do the operations one after the other in one transaction; return the outcome of each once all are durable.

        Raises `StoreFailed` when nothing was kept. When there is no room, those that take some get `Refusal.DISK`.
        """
        ...

    def usage(self) -> Usage:
        """Return what is in use."""
        ...

    def give_back(self, *, bytes_max: int) -> int:
        """Give disk space that is not used any more back to the system, at most so much; return how many bytes went."""
        ...

    def arrivals(self) -> Arrivals | None:
        """Begin to hear of what other relays deposit in this store; None for a store that has one relay only."""
        ...

    def close(self) -> None:
        """Close the store; it is of no more use."""
        ...
