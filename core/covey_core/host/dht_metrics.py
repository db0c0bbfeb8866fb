"""The DHT's figures for operators.

Owns: covey_dht_routing_peers, covey_dht_requests_total{type,outcome}, covey_dht_records (METRICS: Bootstrap).
Never touches: the DHT itself; labels come from enums, never from peers or keys.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge

from covey_core.host.kad_store import PutOutcome
from covey_core.host.kad_wire import Kind


class RequestOutcome(StrEnum):
    """What became of a request of somebody else's; puts add those of `PutOutcome`."""

    ANSWERED = "answered"
    LIMITED = "limited"  # over the peer's rate, or a stream too many
    VIOLATION = "violation"


class DhtMetrics:
    """Registers the DHT's metrics in `registry`, once a process and registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._routing_peers = Gauge("covey_dht_routing_peers", "Servers in the routing table.", registry=registry)
        self._records = Gauge("covey_dht_records", "Records held for others.", registry=registry)
        self._requests = Counter(
            "covey_dht_requests", "Requests of others by type and outcome.", ["type", "outcome"], registry=registry
        )

    def observe(self, *, routing_peers: Callable[[], int], records: Callable[[], int]) -> None:
        """Read both sizes whenever somebody scrapes."""
        self._routing_peers.set_function(routing_peers)
        self._records.set_function(records)

    def requested(self, kind: Kind | None, outcome: RequestOutcome | PutOutcome) -> None:
        """Count one request; `kind` is None for bytes that were no message."""
        self._requests.labels(type=kind.name.lower() if kind is not None else "none", outcome=outcome.value).inc()
