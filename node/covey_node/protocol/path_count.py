"""How often peers are reached over which kind of path: each peer session counts once.

Owns: what is a peer session, when it is counted and at which path, how long a kind of path took to stand.
Spec: docs/operators.md, "Metrics of a node"; METRICS "covey_paths_established_total". Never touches: connections, trio,
the clock (callers pass `now`), the metrics themselves.

A peer session runs from the first path that stands to a peer until none stands any more. It is counted at the path it
has `limits.PATH_COUNT_SECONDS` after its beginning (a circuit comes first and a punched path replaces it within
seconds), or at its last path when it ends before.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from covey_node import limits
from covey_node.protocol.paths import PathKind

Peer = TypeVar("Peer", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Way:
    """A path as it is counted; `ip_version` is ip4 or ip6, of the relay where the path is relayed."""

    kind: PathKind
    transport: str
    ip_version: str


@dataclass(frozen=True, slots=True)
class Stood(Generic[Peer]):
    """A kind of path stands for the first time in a session, `seconds` after the first try to reach the peer."""

    peer: Peer
    kind: PathKind
    seconds: float


@dataclass(frozen=True, slots=True)
class Counted(Generic[Peer]):
    """A session is to be counted, at this path."""

    peer: Peer
    way: Way


Outcome = Stood[Peer] | Counted[Peer]


@dataclass(slots=True)
class _Session:
    began_at: float
    wanted_at: float
    way: Way
    kinds: set[PathKind] = field(default_factory=set)


class PathCount(Generic[Peer]):
    """The sessions with all peers. Every call returns what is to be counted now, `due` first of all."""

    def __init__(self) -> None:
        self._wanted: OrderedDict[Peer, float] = OrderedDict()
        self._sessions: OrderedDict[Peer, _Session] = OrderedDict()  # the oldest first
        self._waiting: OrderedDict[Peer, None] = OrderedDict()  # those that are not counted yet, the oldest first

    def wanted(self, peer: Peer, *, now: float) -> None:
        """Somebody tries to reach `peer`; the time to its first path runs from the first try."""
        if peer not in self._sessions:
            self._wanted.setdefault(peer, now)
            while len(self._wanted) > limits.PATH_COUNT_PEERS:
                self._wanted.popitem(last=False)

    def given_up(self, peer: Peer) -> None:
        """Nobody tries any longer."""
        self._wanted.pop(peer, None)

    def changed(self, peer: Peer, way: Way | None, *, now: float) -> tuple[Outcome[Peer], ...]:
        """Take the best path to `peer` as it is now, None when there is none."""
        found: list[Outcome[Peer]] = list(self.due(now=now))
        session = self._sessions.get(peer)
        if way is None:
            if session is not None:
                del self._sessions[peer]
                if peer in self._waiting:
                    del self._waiting[peer]
                    found.append(Counted(peer, session.way))
            return tuple(found)
        if session is None:
            wanted_at = self._wanted.pop(peer, None)
            session = _Session(now, now if wanted_at is None else wanted_at, way)
            self._sessions[peer] = session
            self._waiting[peer] = None
            if wanted_at is None:
                session.kinds.add(way.kind)  # it came to us: nobody here waited for it
        session.way = way
        if way.kind not in session.kinds:
            session.kinds.add(way.kind)
            found.append(Stood(peer, way.kind, max(0.0, now - session.wanted_at)))
        return tuple(found)

    def due(self, *, now: float) -> tuple[Counted[Peer], ...]:
        """Count the sessions whose time has come; to be called at `next_deadline`, and before every other change."""
        found = []
        while self._waiting:
            peer = next(iter(self._waiting))
            session = self._sessions[peer]
            if now < session.began_at + limits.PATH_COUNT_SECONDS:
                break
            del self._waiting[peer]
            found.append(Counted(peer, session.way))
        return tuple(found)

    def next_deadline(self) -> float | None:
        """Return when the next session is to be counted, None while there is none."""
        if not self._waiting:
            return None
        return self._sessions[next(iter(self._waiting))].began_at + limits.PATH_COUNT_SECONDS

    def standing(self) -> dict[Peer, PathKind]:
        """Return the peers that are reached now, and over which kind of path."""
        return {peer: session.way.kind for peer, session in self._sessions.items()}
