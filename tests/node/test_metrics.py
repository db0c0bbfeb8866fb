"""What /metrics of a node shows: METRICS' names and labels, and nobody's."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass, field

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from covey_core.identity import Identity
from covey_core.metrics import CoreMetrics, Direction
from covey_node import metrics as shown
from covey_node.metrics import NodeMetrics, RatchetReject
from covey_node.protocol.path_count import Counted, PathCount, Way
from covey_node.protocol.paths import PathKind
from covey_node.protocol.status import Status

# METRICS, "Node": names as they are scraped, and their labels.
WANTED = {
    "covey_peers": {"path"},
    "covey_paths_established_total": {"path", "transport", "ipv", "nat"},
    "covey_path_setup_seconds": {"path"},
    "libp2p_holepunch_outcomes_total": {"side", "num_attempts", "outcome"},
    "libp2p_holepunch_address_outcomes_total": {"side", "ipv", "transport", "outcome"},
    "covey_holepunch_seconds": {"outcome"},
    "covey_holepunch_failures_total": {"reason"},
    "libp2p_host_addrs_reachable": {"ipv", "transport"},
    "libp2p_autonatv2_client_requests_total": {"outcome"},
    "covey_nat_info": {"nat", "portmap"},
    "libp2p_autorelay_relay_addresses_count": set(),
    "covey_payload_bytes_total": {"path", "dir"},
    "covey_delivery_seconds": {"via"},
    "covey_outbox_messages": {"status"},
    "covey_ahead_records_left": set(),
    "covey_mailbox_calls_total": {"command", "outcome"},
    "covey_ratchet_rejects_total": {"reason"},
}


@dataclass
class Address:
    transport: str = "tcp"
    ip_version: str = "ip4"
    outcome: str = "failed"
    addr: str = "/ip4/198.51.100.7/tcp/4201"


@dataclass
class Punched:
    peer: str = ""
    side: str = "receiver"
    attempts: int = 3
    outcome: str = "failed"
    reason: str | None = "dial_timeout"
    seconds: float = 1.5
    addresses: tuple[Address, ...] = field(default_factory=lambda: (Address(), Address("quic", "ip6")))


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> NodeMetrics:
    return NodeMetrics(registry)


def scraped(registry: CollectorRegistry) -> dict[str, set[str]]:
    """Every sample's name and labels; a histogram under its own name, without `le`."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            if sample.name.endswith("_created"):
                continue
            name = family.name if family.type == "histogram" else sample.name
            found.setdefault(name, set()).update(set(sample.labels) - {"le"})
    return found


def use_all(metrics: NodeMetrics) -> None:
    metrics.path_established(Way(PathKind.PUNCHED, "quic", "ip4"))
    metrics.punch_finished(Punched())
    metrics.ratchet_rejected(RatchetReject.NO_KEY)


def test_every_metric_has_the_name_and_labels_of_the_list(registry: CollectorRegistry, metrics: NodeMetrics) -> None:
    use_all(metrics)
    assert scraped(registry) == WANTED


def test_a_node_shows_its_metrics_beside_those_of_all_components(registry: CollectorRegistry) -> None:
    CoreMetrics(registry, role="node", version="1")
    NodeMetrics(registry)


def test_two_hundred_peers_leave_no_trace_but_numbers(registry: CollectorRegistry, metrics: NodeMetrics) -> None:
    use_all(metrics)
    everybody = [Identity.generate().peer_id for _ in range(200)]
    count = PathCount[str]()

    def one(number: int) -> None:
        peer, address = everybody[number], f"/ip4/203.0.113.{number}/tcp/{40000 + number}"
        kind = list(PathKind)[number % 5]
        count.wanted(peer, now=number)
        for outcome in count.changed(peer, Way(kind, "tcp" if number % 2 else "quic", "ip4"), now=number):
            if isinstance(outcome, Counted):
                metrics.path_established(outcome.way)
            else:
                metrics.path_stood(outcome.kind, outcome.seconds)
        metrics.peers(Counter(count.standing().values()))
        metrics.punch_finished(Punched(peer, attempts=number, addresses=(Address(addr=address),)))
        metrics.payload(kind.value, Direction.INBOUND, number)
        metrics.delivered(kind.value, number)
        # what a careless caller might pass: it becomes no label
        metrics.payload(address, Direction.OUTBOUND, 1)
        metrics.nat(address, peer)
        metrics.autonat_request(f"failed for {peer}")
        metrics.mailbox_called(peer, address)
        metrics.mailbox_called("put", peer)
        metrics.path_established(Way(kind, address, peer))
        metrics.punch_finished(Punched(side=peer, outcome=peer, reason=address, addresses=(Address(peer, peer, peer),)))

    one(0)
    for number in range(1, 25):
        one(number)
    few = len(list(samples(registry)))
    for number in range(25, 200):
        one(number)
    text = generate_latest(registry).decode()
    assert len(list(samples(registry))) == few
    assert "203.0.113" not in text
    assert [peer for peer in everybody if peer in text or peer[-6:] in text] == []
    values = {value for sample in samples(registry) for name, value in sample.items() if name != "le"}
    words = {one.value for kind in enums() for one in kind} | {"0", "1", "2", "3", "4"}
    assert values <= words
    assert registry.get_sample_value("covey_peers", {"path": "relayed"}) == 40


def enums() -> list[type]:
    return [value for value in vars(shown).values() if isinstance(value, type) and hasattr(value, "__members__")]


def samples(registry: CollectorRegistry) -> list[dict[str, str]]:
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return [sample.labels for family in families for sample in family.samples]


def test_sessions_count_under_the_nat_that_this_machine_has(registry: CollectorRegistry, metrics: NodeMetrics) -> None:
    metrics.nat("easy", "upnp")
    metrics.path_established(Way(PathKind.PUNCHED, "tcp", "ip4"))
    labels = {"path": "punched", "transport": "tcp", "ipv": "ip4", "nat": "easy"}
    assert registry.get_sample_value("covey_paths_established_total", labels) == 1
    assert registry.get_sample_value("covey_nat_info", {"nat": "easy", "portmap": "upnp"}) == 1
    metrics.nat("hard", "none")
    assert registry.get_sample_value("covey_nat_info", {"nat": "easy", "portmap": "upnp"}) is None
    assert registry.get_sample_value("covey_nat_info", {"nat": "hard", "portmap": "none"}) == 1


def test_a_failed_punch_counts_its_reason_and_its_addresses(registry: CollectorRegistry, metrics: NodeMetrics) -> None:
    metrics.punch_finished(Punched())
    metrics.punch_finished(Punched(outcome="success", reason=None, attempts=1, addresses=(Address(outcome="success"),)))
    value = registry.get_sample_value
    assert value("covey_holepunch_failures_total", {"reason": "dial_timeout"}) == 1
    failed = {"side": "receiver", "num_attempts": "3", "outcome": "failed"}
    assert value("libp2p_holepunch_outcomes_total", failed) == 1
    address = {"side": "receiver", "ipv": "ip6", "transport": "quic", "outcome": "failed"}
    assert value("libp2p_holepunch_address_outcomes_total", address) == 1
    assert value("covey_holepunch_seconds_count", {"outcome": "success"}) == 1


def test_messages_are_told_by_the_way_they_went(registry: CollectorRegistry, metrics: NodeMetrics) -> None:
    metrics.delivered("relayed", 0.02)
    metrics.delivered("punched", 0.01)
    metrics.delivered(None, -3)  # the clock was set back
    metrics.outbox({Status.QUEUED: 3})
    metrics.payload("lan", Direction.OUTBOUND, 4096)
    metrics.addrs_reachable([("ip4", "tcp"), ("ip4", "tcp")])
    value = registry.get_sample_value
    assert value("covey_delivery_seconds_count", {"via": "relay"}) == 1
    assert value("covey_delivery_seconds_count", {"via": "direct"}) == 2
    assert value("covey_outbox_messages", {"status": "queued"}) == 3
    assert value("covey_outbox_messages", {"status": "sent"}) == 0
    assert value("covey_mailbox_calls_total", {"command": "put", "outcome": "quota"}) == 0
    metrics.mailbox_called("put", "quota")
    assert value("covey_mailbox_calls_total", {"command": "put", "outcome": "quota"}) == 1
    assert value("covey_payload_bytes_total", {"path": "lan", "dir": "outbound"}) == 4096
    assert value("libp2p_host_addrs_reachable", {"ipv": "ip4", "transport": "tcp"}) == 2
    assert value("libp2p_host_addrs_reachable", {"ipv": "ip6", "transport": "quic"}) == 0


def test_prometheus_finds_nothing_wrong_with_the_names(registry: CollectorRegistry, metrics: NodeMetrics) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool (Debian: prometheus) is not installed")
    use_all(metrics)
    text = re.sub(r"^.*_created.*\n", "", generate_latest(registry).decode(), flags=re.MULTILINE)
    ran = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    # go-libp2p's own name, which its dashboards use
    said = [line for line in ran.stderr.splitlines() if "libp2p_autorelay_relay_addresses_count" not in line]
    assert said == []
