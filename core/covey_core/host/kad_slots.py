"""How many DHT streams and requests strangers may have.

Owns: the table of open streams and the request rates. Spec: docs/spec/dht.md, "Limits". Never touches: sockets, trio,
the clock (callers pass `now`, in seconds).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from covey_core.host import kad_limits as limits
from covey_core.peers import PeerId


class StreamSlots:
    """Open DHT streams: at most 16 a peer; when all 1,024 are taken, the one idle longest makes room.

    A stream is idle from its opening or its last answer until its next request has come in whole. So strangers who
    open streams and say nothing hold up nobody, themselves excepted.
    """

    def __init__(self, *, per_peer: int = limits.PEER_STREAMS, total: int = limits.STREAMS) -> None:
        self._per_peer = per_peer
        self._total = total
        self._open: dict[PeerId, int] = {}
        self._streams: dict[int, PeerId] = {}
        self._idle: dict[int, Callable[[], None]] = {}  # in the order in which they became idle
        self._next = 0

    def __len__(self) -> int:
        return len(self._streams)

    def open(self, peer: PeerId, push_out: Callable[[], None]) -> int | None:
        """Return a slot for a new, idle stream, or None when it is refused. `push_out` ends that stream."""
        if self._open.get(peer, 0) >= self._per_peer:
            return None
        if len(self._streams) >= self._total:
            oldest = next(iter(self._idle), None)
            if oldest is None:
                return None
            push = self._idle[oldest]
            self.close(oldest)
            push()
        self._next += 1
        self._streams[self._next] = peer
        self._open[peer] = self._open.get(peer, 0) + 1
        self._idle[self._next] = push_out
        return self._next

    def busy(self, slot: int) -> None:
        """Note that a request came in on a stream."""
        self._idle.pop(slot, None)

    def idle(self, slot: int, push_out: Callable[[], None]) -> None:
        """Note that a stream's request has been answered."""
        if slot in self._streams:
            self._idle[slot] = push_out

    def close(self, slot: int) -> None:
        """Note the end of a stream; a second call changes nothing."""
        peer = self._streams.pop(slot, None)
        self._idle.pop(slot, None)
        if peer is None:
            return
        left = self._open[peer] - 1
        if left:
            self._open[peer] = left
        else:
            del self._open[peer]


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class RequestRates:
    """A token bucket a peer: 1,000 requests at once, 50 a second. The peers seen longest ago are forgotten."""

    def __init__(self) -> None:
        self._buckets: dict[PeerId, _Bucket] = {}

    def allow(self, peer: PeerId, *, now: float) -> bool:
        """Take one request of `peer` into account; return whether it may be served."""
        bucket = self._buckets.pop(peer, None)
        if bucket is None:
            if len(self._buckets) >= limits.PEERS_RATED:
                del self._buckets[next(iter(self._buckets))]
            bucket = _Bucket(limits.PEER_REQUESTS_BURST, now)
        gained = max(0.0, now - bucket.at) * limits.PEER_REQUESTS_PER_SECOND
        bucket.tokens = min(limits.PEER_REQUESTS_BURST, bucket.tokens + gained)
        bucket.at = now
        self._buckets[peer] = bucket
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True
