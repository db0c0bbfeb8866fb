"""The node's way to relays' mailboxes: typed calls and subscriptions, under identities that are nobody's.

Owns: throw-away hosts, the connections and streams on them, which way a deposit goes. Spec: docs/spec/mailbox.md.
Never touches: the device's own host and identity, queues' meaning, the database; what a call asks and when it is asked
again is the service's.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

from covey_core.errors import CoveyError
from covey_core.network import Network
from covey_core.peers import PeerId
from covey_core.wire.mailbox import Answer, Command, Refused, StoredMessage

Isolation = Literal["relay", "queue"]
"""`relay`: one throw-away identity a relay and role; `queue`: one a queue and role."""

Deliver = Callable[[bytes, Sequence[StoredMessage]], Awaitable[None]]
"""Takes a queue's `recv_id` and messages of it; what it returns from is not sent again on this subscription."""


class Role(Enum):
    """What a connection is for: a relay sees one peer receive and another one send, and never both in one."""

    RECEIVE = "receive"
    SEND = "send"


@dataclass(frozen=True, slots=True)
class At:
    """A relay and where it is; without `addrs` those of the network file and the rendezvous points are taken.

    `operator` is a name for people, empty when nobody told one.
    """

    relay: PeerId
    addrs: tuple[str, ...] = ()
    operator: str = ""


@dataclass(frozen=True, slots=True)
class Subscribed:
    """A queue to be listened to: its `recv_id` (24 bytes), the Ed25519 seed (32) of its owner, and the cursor."""

    recv_id: bytes
    seed: bytes = field(repr=False)
    after: int = 0


class MailboxUnreachable(CoveyError):
    """A relay's mailboxes did not answer; the text says why, in words for people. What was asked may have been done."""


class MailboxClient:
    """Calls at relays' mailboxes. `run` owns everything that is open; without it calls wait and then fail."""

    def __init__(
        self,
        network: Network,
        *,
        known: Callable[[PeerId], tuple[str, ...]] = lambda _relay: (),
        isolation: Isolation = "relay",
        forward: bool = True,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`known`: further addresses of a relay, besides the network file's and those found at rendezvous points.

        `forward`: send by way of another relay where one answers. `now`: Unix seconds, for the end of forward keys.
        """

    async def run(self) -> None:
        """Keep hosts and connections until cancelled; then all of them are closed."""

    async def call(self, at: At, command: Command, *, role: Role, seed: bytes | None, queue: bytes) -> Answer:
        """Have one command answered; a refusal is an answer (`Refused`).

        `seed` (Ed25519, 32 bytes) signs, None for commands that nobody signs. `queue` names what is kept apart with
        `isolation=queue`: the same bytes for all calls about one queue, such as its id. PUT, HAVE, TAKE and WORK of
        `Role.SEND` go by way of another relay where one answers. Raises `MailboxUnreachable`, at the latest after
        `limits.MAILBOX_CALL_SECONDS`; `ProtocolViolation` for a command whose fields are not what they may be.
        Cancelled, it may or may not have been done.
        """
        raise MailboxUnreachable("this node does not ask mailboxes")

    async def subscribe(
        self,
        at: At,
        queues: Sequence[Subscribed],
        deliver: Deliver,
        *,
        refused: Callable[[bytes, Refused], Awaitable[None]] | None = None,
        standing: Callable[[], None] | None = None,
    ) -> None:
        """Listen to queues at one relay until cancelled; messages that wait and those that come go to `deliver`.

        One `deliver` runs at a time a connection, and the relay is read no further until it returns; it may `call`.
        `refused` hears of each queue that the relay would not let us listen to (after waiting out BUSY), `standing` is
        told once all others are listened to. Raises `MailboxUnreachable` when the connection ends or nothing is left to
        listen to; when to come back is the caller's.
        """
        raise MailboxUnreachable("this node does not ask mailboxes")

    def relays(self) -> tuple[At, ...]:
        """Return the relays that are known and serve mailboxes, as far as was seen, with addresses and operator."""
        return ()
