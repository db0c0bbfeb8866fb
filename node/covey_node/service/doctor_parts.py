"""Who knows what the doctor asks: the parts of a node, as far as the doctor needs to see them.

Owns: those faces (protocols) and the list of parts. Never touches: the parts themselves.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from covey_core.network.scope import Scope
from covey_core.peers import PeerId
from covey_node.service.ledger import Ledger
from covey_node.service.path_watch import PathWatch
from covey_node.service.port import RelayView


class OwnAddress(Protocol):
    """One of our addresses as AutoNAT sees it."""

    @property
    def addr(self) -> str:
        """The multiaddr."""

    @property
    def reachable(self) -> bool | None:
        """Whether a dial from outside came through; None: not tried yet."""

    @property
    def checked_at(self) -> float | None:
        """When, Unix seconds."""

    @property
    def reason(self) -> str | None:
        """Why not."""


class Reachability(Protocol):
    """What is known of this machine's NAT and addresses (net/reachability.py)."""

    @property
    def nat(self) -> str:
        """The NAT kind."""

    def addrs(self) -> Sequence[OwnAddress]:
        """Return our addresses and whether each was reached from outside."""


class Mapping(Protocol):
    """One port that the router forwards to us."""

    @property
    def protocol(self) -> str:
        """The transport protocol: tcp or udp."""

    @property
    def internal_port(self) -> int:
        """Our port."""

    @property
    def external_ip(self) -> str:
        """The router's address."""

    @property
    def external_port(self) -> int:
        """The router's port."""

    @property
    def via(self) -> str:
        """How the router was asked."""

    @property
    def expires_at(self) -> float:
        """The end of it, in trio's time."""

    @property
    def addr(self) -> str:
        """The multiaddr that it makes of us."""


class PortMapper(Protocol):
    """The port mappings that stand (net/portmap.py)."""

    def mappings(self) -> Sequence[Mapping]:
        """Return them."""


class PunchedAddress(Protocol):
    """What became of one address in a punch."""

    @property
    def addr(self) -> str:
        """The multiaddr."""

    @property
    def transport(self) -> str:
        """What carries it."""

    @property
    def ip_version(self) -> str:
        """Its address family: ip4 or ip6."""

    @property
    def outcome(self) -> str:
        """success, failed or cancelled."""

    @property
    def reason(self) -> str:
        """Why it failed."""


class Punch(Protocol):
    """One hole punch, over."""

    @property
    def at(self) -> float:
        """When it began, Unix seconds."""

    @property
    def side(self) -> str:
        """Our part: initiator or receiver."""

    @property
    def attempts(self) -> int:
        """How many times both sides dialled."""

    @property
    def outcome(self) -> str:
        """How it ended."""

    @property
    def reason(self) -> str | None:
        """Why it failed."""

    @property
    def seconds(self) -> float:
        """How long it took."""

    @property
    def transport(self) -> str | None:
        """What carries the connection that it made."""

    @property
    def addresses(self) -> Sequence[PunchedAddress]:
        """What became of each address."""

    @property
    def their_nat(self) -> str | None:
        """What the peer's NAT does, by its word."""


class KeptPath(Protocol):
    """A path as the keeper sees it."""

    @property
    def number(self) -> int:
        """Its connection's number."""

    @property
    def state(self) -> str:
        """Whether it is new, used, in doubt."""

    @property
    def rtt_seconds(self) -> float | None:
        """The last round trip."""


Punches = Callable[[PeerId], Sequence[Punch]]
"""Gives the last hole punches with a peer."""


def no_punches(_peer: PeerId) -> Sequence[Punch]:
    """Return none: nobody punches."""
    return ()


@dataclass(frozen=True, slots=True)
class DoctorParts:
    """Who knows what. `tries` makes a connection to a contact's device as a message would; it raises `CoveyError`.

    `portmap` gives None where mapping is switched off, `reachability` where nothing looks at it.
    """

    ledger: Ledger
    scope: Scope
    paths: PathWatch
    relays: Callable[[], Sequence[RelayView]]
    listen: Callable[[], Sequence[str]]
    bootstraps: Callable[[], int]
    tries: Callable[[int, PeerId], Awaitable[None]]
    now: Callable[[], float]
    announce: tuple[str, ...] = ()
    reachability: Callable[[], Reachability | None] = lambda: None
    portmap: Callable[[], PortMapper | None] = lambda: None
    punches: Punches = no_punches
    kept: Callable[[PeerId], Sequence[KeptPath]] = lambda _peer: ()
