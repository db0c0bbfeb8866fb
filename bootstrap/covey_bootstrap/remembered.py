"""The servers a seed has met: whom it dials again after a restart.

Owns: the table, its bounds, its JSON form. Spec: docs/spec/dht.md, "Seeds". Never touches: files, sockets, the clock
(callers pass `now`, Unix seconds).

Only servers (relays and seeds) are in it, with the addresses they serve at; never a user's node.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Self

from covey_bootstrap import limits
from covey_core.errors import ProtocolViolation
from covey_core.network import peer_in
from covey_core.peers import PeerId

_FORMAT: Final = "covey-peers-1"
_ADDRESSES: Final = 8
_ADDRESS_CHARS: Final = 512


@dataclass(frozen=True, slots=True)
class RememberedPeer:
    """One server; `last_seen` in Unix seconds."""

    peer: PeerId
    addrs: tuple[str, ...]
    last_seen: float


class RememberedPeers:
    """At most 256 servers of the last 30 days; the ones met last stay."""

    def __init__(self, peers: Iterable[RememberedPeer] = ()) -> None:
        self._peers = {entry.peer: entry for entry in peers}

    def __len__(self) -> int:
        return len(self._peers)

    def saw(self, peer: PeerId, addrs: tuple[str, ...], *, now: float) -> bool:
        """Note a server that is there now; return whether the table has changed in a way worth storing."""
        known = self._peers.get(peer)
        addrs = addrs[:_ADDRESSES]
        if known is not None and known.addrs == addrs and 0 <= now - known.last_seen < limits.REFRESHED_SECONDS:
            return False
        self._peers[peer] = RememberedPeer(peer, addrs, now)
        if len(self._peers) > limits.REMEMBERED_PEERS:
            oldest = min(self._peers.values(), key=lambda entry: entry.last_seen)
            del self._peers[oldest.peer]
        return True

    def forget_old(self, *, now: float) -> bool:
        """Forget whom we have not met for 30 days; return whether there was anybody."""
        old = [entry.peer for entry in self._peers.values() if now - entry.last_seen > limits.REMEMBERED_SECONDS]
        for peer in old:
            del self._peers[peer]
        return bool(old)

    def newest_first(self) -> tuple[RememberedPeer, ...]:
        """Return all, the ones met last first."""
        return tuple(sorted(self._peers.values(), key=lambda entry: entry.last_seen, reverse=True))

    def encode(self) -> bytes:
        """Return the table as JSON."""
        peers = [{"addrs": list(entry.addrs), "last_seen": entry.last_seen} for entry in self.newest_first()]
        return json.dumps({"format": _FORMAT, "peers": peers}, indent=1).encode() + b"\n"

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return the table in `data`; `ProtocolViolation` when it holds none."""
        try:
            found = json.loads(data)
            if found["format"] != _FORMAT:
                raise ProtocolViolation("not the remembered peers of a version that is known here")
            return cls([_peer(entry) for entry in found["peers"][: limits.REMEMBERED_PEERS]])
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as exc:
            raise ProtocolViolation("not a complete table of remembered peers") from exc


def _peer(entry: Any) -> RememberedPeer:
    addrs = tuple(addr for addr in entry["addrs"] if isinstance(addr, str) and len(addr) <= _ADDRESS_CHARS)[:_ADDRESSES]
    peers = {peer_in(addr) for addr in addrs}
    if len(peers) != 1:
        raise ProtocolViolation("a remembered peer needs addresses, all of one PeerId")
    return RememberedPeer(peers.pop(), addrs, float(entry["last_seen"]))
