"""What the relay service measures; go-libp2p's names where it has them (METRICS.md, "Relay").

Owns: the metrics of the circuit service. Labels come from enums, never from peers, addresses or error texts.
Never touches: the tables that are measured, the registry's exposition.
"""

from collections.abc import Callable
from enum import Enum
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from covey_core.autonat import Served
from covey_core.descriptors import descriptors_in_use
from covey_core.wire.ahead import AheadOutcome, AheadRequest, Leave
from covey_core.wire.report import NatPair, PunchKind, PunchOutcome, PunchTransport
from covey_relay.circuits import CircuitEnd, CircuitRefusal
from covey_relay.reservations import ReservationRefusal

_DURATION_BUCKETS: Final = (1, 5, 15, 60, 300, 900, 3600, 7200)
"""Seconds: from a hole punch that succeeded to a circuit that was used to its end."""


class ReservationEvent(Enum):
    """What became of a slot."""

    OPENED = "opened"
    RENEWED = "renewed"
    CLOSED = "closed"


class CircuitEvent(Enum):
    """What became of a circuit."""

    OPENED = "opened"
    CLOSED = "closed"


class AheadPublication(Enum):
    """What became of a record signed ahead that was due."""

    PUBLISHED = "published"
    NEWER = "newer"  # its owner published a newer one
    UNREACHED = "unreached"  # no holder took it


class RelayMetrics:
    """The metrics of one relay service, registered in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._reservations = Counter(
            "libp2p_relaysvc_reservations", "Slots granted, renewed and freed.", ["type"], registry=registry
        )
        self._reservation_rejections = Counter(
            "libp2p_relaysvc_reservation_rejections", "Slots refused.", ["reason"], registry=registry
        )
        self._connections = Counter(
            "libp2p_relaysvc_connections", "Circuits opened and closed.", ["type"], registry=registry
        )
        self._connection_rejections = Counter(
            "libp2p_relaysvc_connection_rejections", "Circuits refused or failed.", ["reason"], registry=registry
        )
        self._duration = Histogram(
            "libp2p_relaysvc_connection_duration_seconds",
            "How long circuits stood.",
            buckets=_DURATION_BUCKETS,
            registry=registry,
        )
        self._bytes = Counter(
            "libp2p_relaysvc_data_transferred_bytes", "Bytes relayed, both directions.", registry=registry
        )
        self._closed = Counter("covey_relay_closed", "Why circuits ended.", ["reason"], registry=registry)
        self._checked = Counter(
            "covey_autonat_served", "Reachability checks asked for by others.", ["outcome"], registry=registry
        )
        self._reported = Counter(
            "covey_relay_reported_punches",
            "Hole punches that nodes reported, of their own free will.",
            ["outcome", "transport", "nat_pair"],
            registry=registry,
        )
        self._ahead_requests = Counter(
            "covey_ahead_requests",
            "Records signed ahead that were left or taken back.",
            ["request", "outcome"],
            registry=registry,
        )
        self._ahead_publications = Counter(
            "covey_ahead_publications", "Records signed ahead that were due.", ["outcome"], registry=registry
        )
        self._ahead_records = Gauge("covey_ahead_records", "Records signed ahead that lie here.", registry=registry)
        self._ahead_bytes = Gauge("covey_ahead_bytes", "Bytes of records signed ahead.", registry=registry)
        for request in ("leave", "withdraw"):
            for answer in AheadOutcome:
                self._ahead_requests.labels(request=request, outcome=answer.name.lower())
        _show_zeros(self._ahead_publications, "outcome", AheadPublication)
        self._usage = Gauge(
            "covey_usage_ratio", "How much of a bounded resource is in use, 0 to 1.", ["resource"], registry=registry
        )
        self._usage.labels(resource="fds").set_function(descriptors_in_use)
        _show_zeros(self._reservations, "type", ReservationEvent)
        _show_zeros(self._reservation_rejections, "reason", ReservationRefusal)
        _show_zeros(self._connections, "type", CircuitEvent)
        _show_zeros(self._connection_rejections, "reason", CircuitRefusal)
        _show_zeros(self._closed, "reason", CircuitEnd)
        for outcome in PunchOutcome:
            failed = outcome is PunchOutcome.FAILED  # then no transport made a connection
            for transport in (PunchTransport.OTHER,) if failed else (PunchTransport.TCP, PunchTransport.QUIC):
                for pair in NatPair:
                    self._reported.labels(outcome=outcome.value, transport=transport.value, nat_pair=pair.value)
        _show_zeros(self._checked, "outcome", Served)

    def watch_usage(self, *, reservations: Callable[[], float], circuits: Callable[[], float]) -> None:
        """Take the shares of the two tables in use, 0 to 1, from these functions at each scrape."""
        self._usage.labels(resource="reservations").set_function(reservations)
        self._usage.labels(resource="circuits").set_function(circuits)

    def watch_disk(self, ratio: Callable[[], float]) -> None:
        """Take the share of the mailboxes' disk in use, 0 to 1, from this function at each scrape."""
        self._usage.labels(resource="disk").set_function(ratio)

    def watch_ahead(self, *, records: Callable[[], float], size: Callable[[], float]) -> None:
        """Take number and bytes of the records signed ahead from these functions at each scrape."""
        self._ahead_records.set_function(records)
        self._ahead_bytes.set_function(size)

    def ahead_answered(self, request: AheadRequest, outcome: AheadOutcome) -> None:
        """Count what was answered to who left a record or took one back."""
        kind = "leave" if isinstance(request, Leave) else "withdraw"
        self._ahead_requests.labels(request=kind, outcome=outcome.name.lower()).inc()

    def ahead_published(self, outcome: AheadPublication) -> None:
        """Count what became of a record that was due."""
        self._ahead_publications.labels(outcome=outcome.value).inc()

    def reservation(self, event: ReservationEvent) -> None:
        """Count what became of a slot."""
        self._reservations.labels(type=event.value).inc()

    def reservation_refused(self, reason: ReservationRefusal) -> None:
        """Count a slot that was refused."""
        self._reservation_rejections.labels(reason=reason.value).inc()

    def circuit_refused(self, reason: CircuitRefusal) -> None:
        """Count a circuit that was refused, or that its target did not take."""
        self._connection_rejections.labels(reason=reason.value).inc()

    def circuit_opened(self) -> None:
        """Count a circuit that both ends took."""
        self._connections.labels(type=CircuitEvent.OPENED.value).inc()

    def circuit_closed(self, end: CircuitEnd, *, seconds: float) -> None:
        """Count the end of a circuit that stood for `seconds`."""
        self._connections.labels(type=CircuitEvent.CLOSED.value).inc()
        self._closed.labels(reason=end.value).inc()
        self._duration.observe(seconds)

    def reachability_checked(self, outcome: Served) -> None:
        """Count what became of somebody's AutoNAT request."""
        self._checked.labels(outcome=outcome.value).inc()

    def punches_reported(self, kind: PunchKind, count: int) -> None:
        """Count hole punches of this kind that a node reported."""
        self._reported.labels(
            outcome=kind.outcome.value, transport=kind.transport.value, nat_pair=kind.nat_pair.value
        ).inc(count)

    def carried(self, size: int) -> None:
        """Count `size` bytes passed from one end of a circuit to the other."""
        self._bytes.inc(size)


def _show_zeros(counter: Counter, label: str, values: type[Enum]) -> None:
    """Expose every value of a label from the start: a rate over a counter that appears late misses its first step."""
    for value in values:
        counter.labels(**{label: value.value})
