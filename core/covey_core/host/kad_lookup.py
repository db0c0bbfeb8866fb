"""The search for the servers nearest to a key.

Owns: one lookup: whom to ask next and when it is over. Spec: libp2p specs, kad-dht, "Peer routing"; docs/spec/dht.md.
Never touches: sockets, trio, the clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, auto

from covey_core.host import kad_limits as limits
from covey_core.host.kad_table import position
from covey_core.host.kad_wire import KadPeer
from covey_core.peers import PeerId, peer_id_bytes


class _State(Enum):
    HEARD_OF = auto()
    ASKED = auto()
    ANSWERED = auto()
    FAILED = auto()


class Lookup:
    """One search for the `count` nearest servers to `target` (a position), never asking `own`.

    It is over when the `count` nearest peers that did not fail have all answered, or nobody is left to ask.
    """

    def __init__(self, target: int, start: Iterable[KadPeer], *, own: PeerId, count: int = limits.BUCKET_PEERS) -> None:
        self._target = target
        self._own = own
        self._count = count
        self._peers: dict[PeerId, KadPeer] = {}
        self._distance: dict[PeerId, int] = {}
        self._state: dict[PeerId, _State] = {}
        self.heard_of(start)

    def heard_of(self, peers: Iterable[KadPeer]) -> None:
        """Take in peers that somebody named. Past the bound only nearer ones than the farthest waiting one enter."""
        for entry in peers:
            if entry.peer == self._own or entry.peer in self._peers:
                continue
            if len(self._peers) >= limits.LOOKUP_CANDIDATES and not self._made_room(entry.peer):
                continue
            self._peers[entry.peer] = entry
            self._distance[entry.peer] = self._distance_of(entry.peer)
            self._state[entry.peer] = _State.HEARD_OF

    def to_ask(self) -> tuple[KadPeer, ...]:
        """Return the peers to ask now and count them as asked; at most 6 requests are open at once."""
        free = limits.CONCURRENT_REQUESTS - sum(state is _State.ASKED for state in self._state.values())
        chosen = [peer for peer in self._nearest() if self._state[peer] is _State.HEARD_OF][: max(0, free)]
        for peer in chosen:
            self._state[peer] = _State.ASKED
        return tuple(self._peers[peer] for peer in chosen)

    def answered(self, peer: PeerId, closer: Iterable[KadPeer]) -> None:
        """Note an answer and the peers it named."""
        self._state[peer] = _State.ANSWERED
        self.heard_of(closer)

    def failed(self, peer: PeerId) -> None:
        """Note that a peer did not answer."""
        self._state[peer] = _State.FAILED

    @property
    def over(self) -> bool:
        """Whether there is nothing left to ask or to wait for."""
        return all(self._state[peer] is _State.ANSWERED for peer in self._nearest())

    @property
    def waiting_only(self) -> bool:
        """Whether somebody has answered and all that is left are answers of peers already asked."""
        states = [self._state[peer] for peer in self._nearest()]
        return _State.ANSWERED in states and _State.HEARD_OF not in states

    def found(self, *, with_slow: bool = False) -> tuple[KadPeer, ...]:
        """Return the peers that answered, nearest first, at most `count`; `with_slow` also those asked in vain yet."""
        wanted = {_State.ANSWERED, _State.ASKED} if with_slow else {_State.ANSWERED}
        chosen = [p for p in self._ordered() if self._state[p] in wanted]
        return tuple(self._peers[peer] for peer in chosen[: self._count])

    def slow(self) -> tuple[KadPeer, ...]:
        """Return the peers that were asked and have neither answered nor failed."""
        return tuple(self._peers[peer] for peer, state in self._state.items() if state is _State.ASKED)

    def _distance_of(self, peer: PeerId) -> int:
        return position(peer_id_bytes(peer)) ^ self._target

    def _ordered(self) -> list[PeerId]:
        return sorted(self._peers, key=self._distance.__getitem__)

    def _nearest(self) -> list[PeerId]:
        return [peer for peer in self._ordered() if self._state[peer] is not _State.FAILED][: self._count]

    def _made_room(self, peer: PeerId) -> bool:
        waiting = [p for p, state in self._state.items() if state is _State.HEARD_OF]
        farthest = max(waiting, key=self._distance.__getitem__, default=None)
        if farthest is None or self._distance[farthest] <= self._distance_of(peer):
            return False
        for table in (self._peers, self._distance, self._state):
            del table[farthest]
        return True
