"""What all three components measure.

Owns: the metrics of METRICS "All three", with go-libp2p's names where it has them. Labels come from enums only, never
from peers, addresses or error texts. Never touches: the global prometheus registry, what a component measures itself.
"""

from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.process_collector import ProcessCollector


class State(StrEnum):
    """Where a component is in its life."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"


class Direction(StrEnum):
    """Who opened a connection or stream."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"


class Transport(StrEnum):
    """What carries a connection."""

    TCP = "tcp"
    QUIC = "quic"
    WS = "ws"
    OTHER = "other"


class IpVersion(StrEnum):
    """The address family of a connection; `unknown` inside a circuit."""

    IP4 = "ip4"
    IP6 = "ip6"
    UNKNOWN = "unknown"


class Resource(StrEnum):
    """What a limit refused."""

    CONNECTION = "connection"
    STREAM = "stream"
    MEMORY = "memory"
    ADMISSION = "admission"


class Unforeseen(StrEnum):
    """Where an error came up that nobody foresaw, and was contained."""

    HANDLER = "handler"
    TASK = "task"


class DialError(StrEnum):
    """Why a dial failed (go-libp2p's words where it has one)."""

    CANCELED = "canceled"
    DEADLINE = "deadline"
    REFUSED = "connection refused"
    NEGOTIATION = "negotiation"
    ADMISSION = "admission"
    OTHER = "other"


class CoreMetrics:
    """The metrics of one component, registered in `registry`; tests pass a registry of their own.

    `role` is node, relay or bootstrap; `version` the package's version.
    """

    def __init__(self, registry: CollectorRegistry, *, role: str, version: str) -> None:
        self.registry = registry
        ProcessCollector(registry=registry)
        build = Gauge("covey_build_info", "What runs here.", ["version", "role"], registry=registry)
        build.labels(version=version, role=role).set(1)
        self._state = Gauge("covey_state", "1 for the state the component is in.", ["state"], registry=registry)
        self.set_state(State.STARTING)
        self._connections = Gauge("libp2p_rcmgr_connections", "Connections open now.", ["dir"], registry=registry)
        # Only ever counted up; a gauge because go-libp2p's name has no `_total`, which a client counter always adds.
        self._blocked = Gauge(
            "libp2p_rcmgr_blocked_resources", "What limits refused.", ["dir", "resource"], registry=registry
        )
        self._opened = Counter(
            "libp2p_swarm_connections_opened",
            "Connections opened since the start.",
            ["dir", "transport", "ip_version"],
            registry=registry,
        )
        self._dial_errors = Counter(
            "libp2p_swarm_dial_errors", "Dials that failed.", ["transport", "error"], registry=registry
        )
        self._selfprobe = Gauge(
            "covey_selfprobe_success", "1 when the last check of its own succeeded.", ["check"], registry=registry
        )
        self._unforeseen = Counter(
            "covey_contained_errors", "Errors that nobody foresaw: each is a bug.", ["source"], registry=registry
        )
        for source in Unforeseen:
            self._unforeseen.labels(source=source.value)
        for direction in Direction:
            self._connections.labels(dir=direction.value).set(0)
            for resource in Resource:
                self._blocked.labels(dir=direction.value, resource=resource.value)

    def set_state(self, state: State) -> None:
        """Set the state: exactly one of `covey_state` is 1."""
        for known in State:
            self._state.labels(state=known.value).set(known is state)

    def connection_opened(self, direction: Direction, transport: Transport, ip_version: IpVersion) -> None:
        """Count a connection that stands; pair it with `connection_closed`."""
        self._connections.labels(dir=direction.value).inc()
        self._opened.labels(dir=direction.value, transport=transport.value, ip_version=ip_version.value).inc()

    def connection_closed(self, direction: Direction) -> None:
        """Count the end of a connection that was counted by `connection_opened`."""
        self._connections.labels(dir=direction.value).dec()

    def blocked(self, direction: Direction, resource: Resource) -> None:
        """Count something that a limit refused."""
        self._blocked.labels(dir=direction.value, resource=resource.value).inc()

    def dial_failed(self, transport: Transport, error: DialError) -> None:
        """Count a dial that failed."""
        self._dial_errors.labels(transport=transport.value, error=error.value).inc()

    def unforeseen(self, source: Unforeseen) -> None:
        """Count an error that nobody foresaw; it cost a stream, or a task a pause."""
        self._unforeseen.labels(source=source.value).inc()

    def probed(self, check: StrEnum, *, success: bool) -> None:
        """Record the outcome of a self-probe; `check` is a member of the component's own enum."""
        self._selfprobe.labels(check=check.value).set(success)
