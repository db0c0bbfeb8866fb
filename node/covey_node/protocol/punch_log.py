"""How hole punches ended: one outcome, and the last ones of each peer.

Owns: `PunchOutcome`, its reasons, and the log that `covey doctor` reads. Spec: docs/spec/dcutr.md, "Outcomes".
Never touches: sockets, the clock (an outcome carries its time), metrics.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from covey_core.peers import PeerId
from covey_node import limits

if TYPE_CHECKING:  # a value; the room that makes it holds libp2p
    from covey_core.host import PunchAddress


class Side(StrEnum):
    """Who we were: the initiator received the relayed connection and starts (DCUtR's B), the receiver dialed it (A)."""

    INITIATOR = "initiator"
    RECEIVER = "receiver"


class Ending(StrEnum):
    """How it ended."""

    SUCCESS = "success"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DIRECT = "direct"


class Reason(StrEnum):
    """Why not; METRICS.md's reasons, and `not_ours_to_start`, which is nobody's failure."""

    NO_RESERVATION = "no_reservation"
    NO_PUBLIC_ADDR = "no_public_addr"
    NO_COMMON_TRANSPORT = "no_common_transport"
    NO_STREAM = "no_stream"
    PROTOCOL = "protocol"
    SYNC_TIMEOUT = "sync_timeout"
    DIAL_TIMEOUT = "dial_timeout"
    REFUSED = "refused"
    RELAY_LIMIT = "relay_limit"
    BACKOFF = "backoff"
    NOT_OURS_TO_START = "not_ours_to_start"


@dataclass(frozen=True, slots=True)
class PunchOutcome:
    """One punch with one peer: all its attempts. `at` is when it ended, Unix seconds."""

    peer: PeerId
    at: float
    side: Side
    attempts: int
    outcome: Ending
    reason: Reason | None = None
    seconds: float = 0.0
    transport: str | None = None
    ip_version: str | None = None
    addresses: tuple[PunchAddress, ...] = ()
    their_nat: str | None = None
    """What the peer says that its NAT does (METRICS: `nat`); None when it does not say, or does not know."""


class PunchLog:
    """The last outcomes of each peer: 8 of each, of the 256 peers that were punched with last."""

    def __init__(self) -> None:
        self._peers: OrderedDict[PeerId, deque[PunchOutcome]] = OrderedDict()

    def add(self, outcome: PunchOutcome) -> None:
        """Keep an outcome; the peer that was heard of longest ago is forgotten when there are too many."""
        kept = self._peers.pop(outcome.peer, None) or deque(maxlen=limits.PUNCHES_KEPT_PER_PEER)
        kept.append(outcome)
        self._peers[outcome.peer] = kept
        while len(self._peers) > limits.PUNCH_PEERS_KEPT:
            self._peers.popitem(last=False)

    def of(self, peer: PeerId) -> tuple[PunchOutcome, ...]:
        """Return a peer's outcomes, the newest first."""
        return tuple(reversed(self._peers.get(peer, ())))
