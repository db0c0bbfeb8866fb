"""Who may hold a relay slot, and until when.

Owns: the slot table and its limits. Spec: docs/spec/circuit.md, section "Reservations".
Never touches: sockets, trio, the clock (callers pass `now`), logs, metrics.
"""

from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum

from covey_core.peers import PeerId
from covey_relay.addresses import Origin, OriginCounts, origins_of
from covey_relay.limits import RelayLimits


class ReservationRefusal(Enum):
    """Why a slot was refused; the value is the metric's label."""

    RELAYED = "relayed"
    TABLE_FULL = "table_full"
    ADDRESS_FULL = "address_full"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class Granted:
    """A slot until `expires_at`, seconds on the caller's clock; `renewed` when the peer held it already."""

    expires_at: float
    renewed: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """No slot; a slot that the peer held before stands unchanged."""

    reason: ReservationRefusal


@dataclass(frozen=True, slots=True)
class _Slot:
    expires_at: float
    origins: frozenset[Origin]


class Reservations:
    """The slot table: one slot a peer, ordered by the end of their hour.

    All slots last equally long and `now` never goes back, so the oldest grant is the first to expire.
    """

    def __init__(self, limits: RelayLimits) -> None:
        self._limits = limits
        self._slots: OrderedDict[PeerId, _Slot] = OrderedDict()
        self._counts = OriginCounts(limits.reservations_per_address)
        self._draining = False

    def __len__(self) -> int:
        """Return the number of slots held."""
        return len(self._slots)

    def reserve(self, peer: PeerId, *, ip: str | None, relayed: bool, now: float) -> Granted | Refused:
        """Grant or renew the slot of `peer`, the peer that proved this identity on the asking connection.

        `ip` is the remote address of that connection and None where there is none; `relayed` says that the connection
        runs through a relay, over which nobody may reserve (circuit-v2, "Reservation").
        """
        self.expire(now=now)
        if self._draining:
            return Refused(ReservationRefusal.DRAINING)
        if relayed:
            return Refused(ReservationRefusal.RELAYED)
        held = self._slots.get(peer)
        if held is None and len(self._slots) >= self._limits.reservations:
            return Refused(ReservationRefusal.TABLE_FULL)
        origins = origins_of(ip)
        if not self._counts.has_room(origins, leaving=held.origins if held else frozenset()):
            return Refused(ReservationRefusal.ADDRESS_FULL)
        self.release(peer)
        expires_at = now + self._limits.reservation_seconds
        self._slots[peer] = _Slot(expires_at, origins)
        self._counts.add(origins)
        return Granted(expires_at, renewed=held is not None)

    def holds(self, peer: PeerId, *, now: float) -> bool:
        """Say whether `peer` has a slot at `now`."""
        slot = self._slots.get(peer)
        return slot is not None and now < slot.expires_at

    def holders(self) -> tuple[PeerId, ...]:
        """Return all peers with a slot, the first to expire first."""
        return tuple(self._slots)

    def release(self, peer: PeerId) -> bool:
        """Free the slot of `peer`, whose last direct connection is gone; say whether it had one."""
        slot = self._slots.pop(peer, None)
        if slot is None:
            return False
        self._counts.remove(slot.origins)
        return True

    def expire(self, *, now: float) -> tuple[PeerId, ...]:
        """Free the slots whose hour is over; return whose they were."""
        gone = []
        while self._slots:
            peer, slot = next(iter(self._slots.items()))
            if now < slot.expires_at:
                break
            self.release(peer)
            gone.append(peer)
        return tuple(gone)

    def next_deadline(self) -> float | None:
        """Return when the next slot expires, or None while the table is empty."""
        return next(iter(self._slots.values())).expires_at if self._slots else None

    def drain(self) -> None:
        """Grant and renew nothing from now on; slots stand until they expire or are released."""
        self._draining = True
