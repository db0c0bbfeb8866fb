"""Who is registered at a rendezvous point, under which namespace, until when.

Owns: the registrations and their bounds. Spec: libp2p specs, rendezvous r3; docs/spec/rendezvous.md.
Never touches: sockets, trio, the clock (callers pass `now`, in seconds).
"""

from __future__ import annotations

from dataclasses import dataclass

from covey_core.errors import ProtocolViolation
from covey_core.host import kad_limits as limits
from covey_core.host.kad_addrs import dialable
from covey_core.host.kad_wire import KadPeer
from covey_core.host.rendezvous_wire import (
    Discover,
    Discovered,
    PeerRecord,
    Register,
    Registered,
    RendezvousStatus,
    open_peer_record,
)
from covey_core.network import Scope
from covey_core.peers import PeerId

_COOKIE_BYTES = 8


@dataclass(slots=True)
class _Registration:
    signed_record: bytes
    record: PeerRecord
    expires_at: float
    serial: int


class Registrations:
    """The registrations of one point. A cookie is the serial number of the last registration told."""

    def __init__(self) -> None:
        self._by_namespace: dict[str, dict[PeerId, _Registration]] = {}
        self._serial = 0

    def __len__(self) -> int:
        return sum(len(found) for found in self._by_namespace.values())

    def register(self, peer: PeerId, request: Register, *, now: float) -> Registered:
        """Register the authenticated `peer`; its record must be its own and not older than the one we have."""
        self._expire(now)
        if not _is_namespace(request.namespace):
            return Registered(RendezvousStatus.INVALID_NAMESPACE, "1 to 255 bytes")
        ttl = request.ttl_seconds or limits.RENDEZVOUS_TTL_SECONDS
        if not limits.RENDEZVOUS_TTL_MIN_SECONDS <= ttl <= limits.RENDEZVOUS_TTL_MAX_SECONDS:
            allowed = f"{limits.RENDEZVOUS_TTL_MIN_SECONDS} to {limits.RENDEZVOUS_TTL_MAX_SECONDS} s"
            return Registered(RendezvousStatus.INVALID_TTL, allowed)
        try:
            record = open_peer_record(request.signed_record)
        except ProtocolViolation as exc:
            return Registered(RendezvousStatus.INVALID_SIGNED_PEER_RECORD, str(exc))
        if record.peer != peer:
            return Registered(RendezvousStatus.NOT_AUTHORIZED, "the record of somebody else")
        old = self._by_namespace.get(request.namespace, {}).get(peer)
        if old is not None and record.sequence < old.record.sequence:
            return Registered(RendezvousStatus.INVALID_SIGNED_PEER_RECORD, "older than the registered one")
        if old is None and not self._has_room(peer, request.namespace):
            return Registered(RendezvousStatus.UNAVAILABLE, "full")
        self._serial += 1
        entry = _Registration(request.signed_record, record, now + ttl, self._serial)
        found = self._by_namespace.setdefault(request.namespace, {})
        found.pop(peer, None)  # behind all others again, so that a cookie leads to it
        found[peer] = entry
        return Registered(RendezvousStatus.OK, ttl_seconds=ttl)

    def unregister(self, peer: PeerId, namespace: str) -> None:
        """Forget a registration of the authenticated `peer`, if there is one."""
        found = self._by_namespace.get(namespace, {})
        found.pop(peer, None)
        if not found:
            self._by_namespace.pop(namespace, None)

    def discover(self, request: Discover, *, now: float) -> Discovered:
        """Return up to 60 registrations of a namespace, oldest first, from where the cookie says."""
        self._expire(now)
        if not _is_namespace(request.namespace):
            return Discovered(RendezvousStatus.INVALID_NAMESPACE, text="1 to 255 bytes")
        if request.cookie and len(request.cookie) != _COOKIE_BYTES:
            return Discovered(RendezvousStatus.INVALID_COOKIE, text="not a cookie of this point")
        after = int.from_bytes(request.cookie, "big")
        if after > self._serial:
            return Discovered(RendezvousStatus.INVALID_COOKIE, text="a cookie from before a restart")
        page = min(request.limit or limits.RENDEZVOUS_PAGE, limits.RENDEZVOUS_PAGE)
        waiting = [e for e in self._by_namespace.get(request.namespace, {}).values() if e.serial > after][:page]
        told = tuple(Register(request.namespace, e.signed_record, max(1, int(e.expires_at - now))) for e in waiting)
        last = waiting[-1].serial if waiting else after
        return Discovered(RendezvousStatus.OK, told, last.to_bytes(_COOKIE_BYTES, "big"))

    def peers(self, scope: Scope) -> tuple[KadPeer, ...]:
        """Return everybody registered, with the addresses that the scope lets us dial."""
        entries = {peer: entry for found in self._by_namespace.values() for peer, entry in found.items()}
        named = (KadPeer(peer, dialable(entry.record.addrs, scope)) for peer, entry in entries.items())
        return tuple(entry for entry in named if entry.addrs)

    def _has_room(self, peer: PeerId, namespace: str) -> bool:
        held = sum(peer in found for found in self._by_namespace.values())
        return (
            len(self) < limits.RENDEZVOUS_REGISTRATIONS
            and held < limits.RENDEZVOUS_PEER_REGISTRATIONS
            and (namespace in self._by_namespace or len(self._by_namespace) < limits.RENDEZVOUS_NAMESPACES)
        )

    def _expire(self, now: float) -> None:
        for namespace, found in list(self._by_namespace.items()):
            for peer in [p for p, entry in found.items() if entry.expires_at <= now]:
                del found[peer]
            if not found:
                del self._by_namespace[namespace]


def _is_namespace(text: str) -> bool:
    return 0 < len(text.encode()) <= limits.RENDEZVOUS_NAMESPACE_BYTES
