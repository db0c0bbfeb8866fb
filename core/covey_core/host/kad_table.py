"""Which DHT servers we know, by distance from ourselves.

Owns: the k-buckets, their entries and when a silent entry is asked again or forgotten. Spec: libp2p specs, kad-dht,
"Kademlia routing table"; docs/spec/dht.md. Never touches: sockets, trio, the clock (callers pass `now`, in seconds).

Only a peer that answered us is entered, so a stranger cannot fill the table with made-up peers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256

from covey_core.host import kad_limits as limits
from covey_core.host.kad_addrs import subnet_of
from covey_core.host.kad_wire import KadPeer
from covey_core.peers import PeerId, peer_id_bytes


def position(key: bytes) -> int:
    """Return where a key or a PeerId's multihash lies: its SHA-256 as a number."""
    return int.from_bytes(sha256(key).digest(), "big")


@dataclass(slots=True)
class _Entry:
    peer: KadPeer
    position: int
    subnet: str | None
    answered_at: float
    failures: int = 0
    retry_at: float = 0.0


class RoutingTable:
    """The table of one DHT. `own` is our PeerId; it is never entered."""

    def __init__(self, own: PeerId) -> None:
        self._own = own
        self._position = position(peer_id_bytes(own))
        self._buckets: list[dict[PeerId, _Entry]] = [{} for _ in range(limits.BUCKETS + 1)]

    def __len__(self) -> int:
        return sum(len(bucket) for bucket in self._buckets)

    def __contains__(self, peer: PeerId) -> bool:
        return self._find(peer) is not None

    def answered(self, peer: PeerId, addrs: tuple[str, ...], *, now: float) -> bool:
        """Enter or refresh a server that just answered; `addrs` may be empty for one we know. Return whether it is in.

        A full bucket gives the place of an entry that failed last to the new peer and otherwise keeps its old ones:
        who has been there long is likely to stay (Kademlia 2.2).
        """
        if peer == self._own:
            return False
        where = position(peer_id_bytes(peer))
        bucket = self._bucket(where)
        entry = bucket.get(peer)
        if entry is not None:
            if addrs:
                entry.peer = KadPeer(peer, addrs[: limits.PEER_ADDRESSES])
                entry.subnet = subnet_of(addrs)
            entry.answered_at, entry.failures, entry.retry_at = now, 0, 0.0
            return True
        if not addrs:
            return False
        subnet = subnet_of(addrs)
        if subnet is not None and sum(e.subnet == subnet for e in bucket.values()) >= limits.SUBNET_PEERS:
            return False
        if len(bucket) >= limits.BUCKET_PEERS:
            failing = [e for e in bucket.values() if e.failures]
            if not failing:
                return False
            worst = min(failing, key=lambda e: e.answered_at)
            del bucket[worst.peer.peer]
        bucket[peer] = _Entry(KadPeer(peer, addrs[: limits.PEER_ADDRESSES]), where, subnet, now)
        return True

    def failed(self, peer: PeerId, *, now: float) -> None:
        """Note that a request to a peer failed: it is asked again later, and forgotten after a silent day."""
        entry = self._find(peer)
        if entry is None:
            return
        if now - entry.answered_at >= limits.PEER_FORGOTTEN_SECONDS:
            del self._bucket(entry.position)[peer]
            return
        pause = min(limits.PEER_RETRY_SECONDS * 2**entry.failures, limits.PEER_RETRY_MAX_SECONDS)
        entry.failures += 1
        entry.retry_at = now + pause

    def closest(self, target: int, count: int, *, now: float) -> tuple[KadPeer, ...]:
        """Return up to `count` peers to ask, nearest first; those in a pause only when there are no others."""
        entries = sorted(self._entries(), key=lambda e: e.position ^ target)
        willing = [e.peer for e in entries if e.retry_at <= now]
        return tuple((willing or [e.peer for e in entries])[:count])

    def known_good(self, target: int, count: int) -> tuple[KadPeer, ...]:
        """Return up to `count` peers to tell others about, nearest first: only those whose last answer came."""
        entries = sorted((e for e in self._entries() if not e.failures), key=lambda e: e.position ^ target)
        return tuple(e.peer for e in entries[:count])

    def due(self, *, now: float) -> tuple[KadPeer, ...]:
        """Return the peers that failed and whose pause is over."""
        return tuple(e.peer for e in self._entries() if e.failures and e.retry_at <= now)

    def in_pause(self, peer: PeerId, *, now: float) -> bool:
        """Return whether a peer failed so lately that it should not be asked yet."""
        entry = self._find(peer)
        return entry is not None and entry.retry_at > now

    def peers(self) -> tuple[KadPeer, ...]:
        """Return every entry."""
        return tuple(entry.peer for entry in self._entries())

    def _entries(self) -> Iterator[_Entry]:
        for bucket in self._buckets:
            yield from bucket.values()

    def _bucket(self, where: int) -> dict[PeerId, _Entry]:
        return self._buckets[(where ^ self._position).bit_length()]

    def _find(self, peer: PeerId) -> _Entry | None:
        return self._bucket(position(peer_id_bytes(peer))).get(peer)
