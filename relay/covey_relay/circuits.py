"""Which circuits may stand, how long, and how much each may carry.

Owns: the circuit table, its limits and the meters of both directions. Spec: docs/spec/circuit.md, section "Circuits".
Never touches: streams, trio, the clock (callers pass `now`), logs, metrics.
"""

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum

from covey_core.peers import PeerId
from covey_relay.addresses import Origin, OriginCounts, origins_of
from covey_relay.limits import RelayLimits


class CircuitRefusal(Enum):
    """Why a circuit was refused; the value is the metric's label."""

    RELAYED = "relayed"
    TO_ITSELF = "to_itself"
    NO_RESERVATION = "no_reservation"
    TABLE_FULL = "table_full"
    PEER_FULL = "peer_full"
    PAIR_FULL = "pair_full"
    ADDRESS_FULL = "address_full"
    DRAINING = "draining"
    TARGET_FAILED = "target_failed"


class CircuitEnd(Enum):
    """Why a circuit ended; the value is the metric's label (METRICS.md, covey_relay_closed_total)."""

    EOF = "eof"
    DURATION = "duration"
    BYTES = "bytes"
    DRAIN = "drain"
    ERROR = "error"


class Meter:
    """The bytes of one direction of one circuit; `allowance` 0 means that nothing is counted against it."""

    __slots__ = ("allowance", "carried")

    def __init__(self, allowance: int) -> None:
        self.allowance = allowance
        self.carried = 0

    def admit(self, size: int) -> int:
        """Count up to `size` more bytes and return how many of them may be passed on."""
        if self.allowance:
            size = min(size, self.allowance - self.carried)
        self.carried += size
        return size


@dataclass(slots=True, eq=False)
class Circuit:
    """One circuit, from the moment its place is taken until it is closed; compared by identity."""

    source: PeerId
    target: PeerId
    onward: Meter
    """Bytes from the source to the target."""
    back: Meter
    """Bytes from the target to the source."""
    origins: frozenset[Origin] = field(repr=False)
    established_at: float | None = None
    expires_at: float | None = None
    """When it must end, on the caller's clock; None while it is being opened, and when there is no limit."""


@dataclass(frozen=True, slots=True)
class CircuitRefused:
    """No circuit, and why."""

    reason: CircuitRefusal


class Circuits:
    """The circuit table. Circuits know nothing of each other: several between one pair live and end on their own."""

    def __init__(self, limits: RelayLimits) -> None:
        self._limits = limits
        self._circuits: set[Circuit] = set()
        self._by_peer: Counter[PeerId] = Counter()
        self._by_pair: Counter[tuple[PeerId, PeerId]] = Counter()
        self._counts = OriginCounts(limits.circuits_per_address)
        self._draining = False

    def __len__(self) -> int:
        """Return the number of circuits, those still being opened included."""
        return len(self._circuits)

    def open(
        self,
        source: PeerId,
        target: PeerId,
        *,
        source_ip: str | None,
        target_ip: str | None,
        relayed: bool,
        reserved: bool,
    ) -> Circuit | CircuitRefused:
        """Take a place for a circuit that `source` asks for; `close` gives it back, whether it was established or not.

        `relayed`: the source's own connection runs through a relay; `reserved`: the target holds a slot now.
        """
        if self._draining:
            return CircuitRefused(CircuitRefusal.DRAINING)
        if relayed:
            return CircuitRefused(CircuitRefusal.RELAYED)
        if source == target:
            return CircuitRefused(CircuitRefusal.TO_ITSELF)
        if not reserved:
            return CircuitRefused(CircuitRefusal.NO_RESERVATION)
        if len(self._circuits) >= self._limits.circuits:
            return CircuitRefused(CircuitRefusal.TABLE_FULL)
        if max(self._by_peer[source], self._by_peer[target]) >= self._limits.circuits_per_peer:
            return CircuitRefused(CircuitRefusal.PEER_FULL)
        if self._by_pair[source, target] >= self._limits.circuits_per_pair:
            return CircuitRefused(CircuitRefusal.PAIR_FULL)
        origins = origins_of(source_ip) | origins_of(target_ip)
        if not self._counts.has_room(origins):
            return CircuitRefused(CircuitRefusal.ADDRESS_FULL)
        allowance = self._limits.circuit_bytes
        circuit = Circuit(source, target, onward=Meter(allowance), back=Meter(allowance), origins=origins)
        self._circuits.add(circuit)
        self._by_peer.update((source, target))
        self._by_pair[source, target] += 1
        self._counts.add(origins)
        return circuit

    def establish(self, circuit: Circuit, *, now: float) -> None:
        """Start the duration of `circuit`: both ends have accepted it."""
        circuit.established_at = now
        if self._limits.circuit_seconds:
            circuit.expires_at = now + self._limits.circuit_seconds

    def close(self, circuit: Circuit) -> None:
        """Give the place of `circuit` back; closing twice changes nothing."""
        if circuit not in self._circuits:
            return
        self._circuits.remove(circuit)
        for peer in (circuit.source, circuit.target):
            self._by_peer[peer] -= 1
            if not self._by_peer[peer]:
                del self._by_peer[peer]
        pair = circuit.source, circuit.target
        self._by_pair[pair] -= 1
        if not self._by_pair[pair]:
            del self._by_pair[pair]
        self._counts.remove(circuit.origins)

    @property
    def draining(self) -> bool:
        """Whether `drain` was called: what is still being opened must not stand either."""
        return self._draining

    def drain(self) -> None:
        """Open nothing from now on; circuits stand until they are closed."""
        self._draining = True
