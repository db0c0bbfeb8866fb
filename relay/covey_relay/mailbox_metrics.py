"""What the mailboxes measure (METRICS.md, "Relay").

Owns: the metrics of the mailbox service. Labels come from enums, never from peers, addresses or queues. Never touches:
the store, the registry's exposition.
"""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from covey_core.wire import mailbox as m
from covey_relay.mailbox.case import MailboxEvent

_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15)
"""Seconds: from a look-up in memory to a forwarded command that waits for another relay."""


_OPS: Final[dict[type, str]] = {
    m.New: "new",
    m.Put: "put",
    m.Have: "have",
    m.Get: "get",
    m.Sub: "sub",
    m.Ack: "ack",
    m.Rot: "rot",
    m.Del: "del",
    m.Stock: "stock",
    m.Take: "take",
    m.Work: "work",
    m.Fwd: "fwd",
}


class MailboxMetrics:
    """The metrics of one mailbox service, registered in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._bytes = Gauge("covey_mailbox_bytes", "Disk that the mailboxes take.", registry=registry)
        self._queues = Gauge("covey_mailbox_queues", "Queues that stand.", registry=registry)
        self._oldest = Gauge(
            "covey_mailbox_oldest_seconds",
            "For how long the message that ends first has waited at most, as it were given the longest time.",
            registry=registry,
        )
        self._subscriptions = Gauge("covey_mailbox_subscriptions", "Queues somebody hears of.", registry=registry)
        self._events = Counter(
            "covey_mailbox_events", "What became of messages, and what was refused.", ["event"], registry=registry
        )
        self._seconds = Histogram(
            "covey_mailbox_request_seconds",
            "From a request that has come whole to its answer.",
            ["op"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self._counters = {event: self._events.labels(event=event.value) for event in MailboxEvent}
        self._timers = {kind: self._seconds.labels(op=name) for kind, name in _OPS.items()}

    def happened(self, event: MailboxEvent, count: int = 1) -> None:
        """Count what became of messages."""
        self._counters[event].inc(count)

    def answered(self, command: m.Command, seconds: float) -> None:
        """Count a request that was answered after so long."""
        self._timers[type(command)].observe(seconds)

    def stands(self, *, used_bytes: int, queues: int, oldest_seconds: float) -> None:
        """Show what the store holds now."""
        self._bytes.set(used_bytes)
        self._queues.set(queues)
        self._oldest.set(oldest_seconds)

    def subscribed(self, queues: int) -> None:
        """Show how many queues are subscribed to."""
        self._subscriptions.set(queues)
