"""What the NAT in front of this machine does, as several relays' views of us tell it.

Owns: the judgement, and how reluctantly it changes. Spec: docs/spec/autonat.md, "NAT kind"; RFC 4787, 4.1 (mapping
behaviour). Never touches: sockets, the clock (callers pass `now`), who observed us.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum

from covey_node import limits

_FAMILIES = ("ip4", "ip6")


class NatKind(StrEnum):
    """METRICS' `nat`."""

    NONE = "none"
    """No translation: others see an address of one of our interfaces."""
    EASY = "easy"
    """One mapping for all destinations (endpoint-independent): what one relay sees, a peer can be told."""
    HARD = "hard"
    """A mapping a destination (symmetric): nobody knows beforehand what a peer would see."""
    UDP_BLOCKED = "udp_blocked"
    """TCP passes, UDP does not."""
    UNKNOWN = "unknown"
    """Too few observers, or none that agree."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One of our addresses as an observer at `observer_ip` sees it, over a connection from a listening port."""

    observer_ip: str
    ip: str
    port: int
    transport: str

    @property
    def family(self) -> str:
        """METRICS' `ipv`."""
        return "ip6" if ":" in self.ip else "ip4"


def judge(seen: Iterable[Seen], *, own_ips: Collection[str], silent_over_quic: Collection[str] = ()) -> NatKind:
    """Return what these views say. `silent_over_quic`: IPs of observers that answer over TCP and not over QUIC.

    Two observers with different IPs are the least: one cannot tell a mapping for all from a mapping for it, and two
    behind one IP are one to a NAT that maps by address. IPv4 decides where it is seen; IPv6 has no NAT as a rule.
    """
    views = tuple(dict.fromkeys(seen))
    for family in _FAMILIES:
        of_family = [view for view in views if view.family == family]
        if of_family:
            return _judge_family(of_family, own_ips, silent_over_quic)
    return NatKind.UNKNOWN


def _judge_family(views: list[Seen], own_ips: Collection[str], silent: Collection[str]) -> NatKind:
    if len({view.observer_ip for view in views}) < limits.NAT_OBSERVERS_MIN:
        return NatKind.UNKNOWN
    outside = [view for view in views if view.ip not in own_ips]
    if not outside:
        return NatKind.NONE
    over_tcp = {view.observer_ip for view in outside if view.transport == "tcp"}
    over_quic = {view.observer_ip for view in outside if view.transport == "quic"}
    if not over_quic and len(over_tcp & set(silent)) >= limits.NAT_OBSERVERS_MIN:
        return NatKind.UDP_BLOCKED
    kinds = [_judge_transport([view for view in outside if view.transport == one]) for one in ("tcp", "quic")]
    for kind in (NatKind.EASY, NatKind.HARD):
        if kind in kinds:
            return kind
    return NatKind.UNKNOWN


def _judge_transport(views: list[Seen]) -> NatKind:
    """Judge one transport: easy when most observers (of two: both) see the same address and port."""
    observers = {view.observer_ip for view in views}
    if len(observers) < limits.NAT_OBSERVERS_MIN:
        return NatKind.UNKNOWN
    counts = Counter((view.ip, view.port) for view in {(v.observer_ip, v.ip, v.port): v for v in views}.values())
    (_, most), *_ = counts.most_common(1)
    return NatKind.EASY if most >= limits.NAT_OBSERVERS_MIN and most * 2 > len(observers) else NatKind.HARD


class NatMemory:
    """The kind that is believed. Later than a moment after the first judgement, another one must stand for a while."""

    def __init__(self) -> None:
        self.kind = NatKind.UNKNOWN
        self._known_since = 0.0
        self._rival: NatKind | None = None
        self._since = 0.0

    def look(self, judged: NatKind, *, now: float) -> bool:
        """Take a new judgement; says whether the believed kind has changed."""
        if judged is self.kind:
            self._rival = None
            return False
        if judged is not self._rival:
            self._rival, self._since = judged, now
        if self.kind is NatKind.UNKNOWN:
            self._known_since = now
        elif now - self._since < self._patience(judged):
            return False
        self.kind, self._rival = judged, None
        return True

    def forget(self) -> None:
        """Our interfaces have changed: this is another network, and what was believed was of the old one."""
        self.kind, self._rival = NatKind.UNKNOWN, None

    def _patience(self, rival: NatKind) -> float:
        if rival is NatKind.UNKNOWN:
            return limits.NAT_FORGET_SECONDS
        is_young = self._since - self._known_since < limits.NAT_SETTLE_SECONDS
        return 0.0 if is_young else limits.NAT_FLIP_SECONDS


def nat_pair(ours: NatKind, theirs: NatKind) -> str:
    """Return METRICS' `nat_pair`: none, easy_easy, easy_hard, hard_hard or unknown.

    One side without a NAT makes it none: the other just dials. Blocked UDP counts as hard, since half of the ways are
    gone.
    """
    kinds = {ours, theirs}
    if NatKind.NONE in kinds:
        return "none"
    if NatKind.UNKNOWN in kinds:
        return "unknown"
    easy = (ours is NatKind.EASY) + (theirs is NatKind.EASY)
    return ("hard_hard", "easy_hard", "easy_easy")[easy]
