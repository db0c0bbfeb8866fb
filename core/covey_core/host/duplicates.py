"""Several connections to one peer: which one is used, and which ones are too many.

Owns: that order and that choice, the same on both sides wherever it can be. Spec: docs/spec/host.md, docs/adr/0051.
Never touches: trio, libp2p, the clock; the closing (supervision.py, on one side only).
"""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from covey_core.host import limits


class Leg(Protocol):
    """What is asked about a connection."""

    @property
    def number(self) -> int:
        """The later it came into the table, the higher."""
        ...

    @property
    def opened_at(self) -> float:
        """When it came into the table, in seconds."""
        ...

    @property
    def inbound(self) -> bool:
        """Whether the peer was its initiator."""
        ...

    @property
    def is_admitted(self) -> bool:
        """Whether both sides have proven themselves."""
        ...

    @property
    def relayed(self) -> bool:
        """Whether it goes through a relay."""
        ...

    @property
    def is_quic(self) -> bool:
        """Whether it is a direct one over QUIC."""
        ...

    @property
    def retired(self) -> bool:
        """Whether we are closing it in favour of another one."""
        ...

    @property
    def suspect(self) -> bool:
        """Whether somebody waited on it in vain and it has not answered since."""
        ...


AnyLeg = TypeVar("AnyLeg", bound=Leg)


def to_use(legs: Sequence[AnyLeg], *, ours_is_smaller: bool) -> list[AnyLeg]:
    """Return the connections in the order in which streams go on them: as `to_keep`, but those in doubt last."""
    return sorted(to_keep(legs, ours_is_smaller=ours_is_smaller), key=lambda one: (not one.is_admitted, one.suspect))


def to_keep(legs: Sequence[AnyLeg], *, ours_is_smaller: bool) -> list[AnyLeg]:
    """Return the connections, the first being the one that stays longest. `ours_is_smaller`: our PeerId is.

    Admitted before not, direct before relayed, those that are being closed last, TCP and WebSocket before QUIC; then
    the newest, for whoever dials anew had no use for the older one. Dials that crossed each other come to stand in
    another order on each side: what the smaller PeerId began counts as 5 s newer.
    """

    def rank(one: Leg) -> tuple[bool, bool, bool, bool, float, int]:
        begun_by_smaller = one.inbound != ours_is_smaller
        at = one.opened_at + (limits.SIMULTANEOUS_SECONDS if begun_by_smaller else 0.0)
        return not one.is_admitted, one.relayed, one.retired, one.is_quic, -at, -one.number

    return sorted(legs, key=rank)


def surplus(legs: Sequence[AnyLeg], *, ours_is_smaller: bool, keeps_both: bool) -> list[AnyLeg]:
    """Return the admitted connections that are too many: there is a better one of the kind, which stays.

    Two relayed ones stay, one direct one over TCP or WebSocket, and one over QUIC where there is no other direct one or
    both are wanted (`keeps_both`).
    """
    admitted = [one for one in to_keep(legs, ours_is_smaller=ours_is_smaller) if one.is_admitted]
    relayed = [one for one in admitted if one.relayed]
    streams = [one for one in admitted if not one.relayed and not one.is_quic]
    quic = [one for one in admitted if not one.relayed and one.is_quic]
    kept_quic = limits.KEPT_DIRECT if keeps_both or not any(not one.retired for one in streams) else 0
    return relayed[limits.KEPT_RELAYED :] + streams[limits.KEPT_DIRECT :] + quic[kept_quic:]
