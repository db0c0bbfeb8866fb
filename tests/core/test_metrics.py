from enum import StrEnum

from prometheus_client import CollectorRegistry, generate_latest

from covey_core.metrics import CoreMetrics, DialError, Direction, IpVersion, Resource, State, Transport


class Check(StrEnum):
    ADDRESS = "address"


def value(registry, name, **labels):
    return registry.get_sample_value(name, labels)


def test_the_metrics_that_all_three_have_are_there_with_their_labels():
    registry = CollectorRegistry()
    metrics = CoreMetrics(registry, role="relay", version="1.2.3")
    metrics.connection_opened(Direction.INBOUND, Transport.WS, IpVersion.IP6)
    metrics.dial_failed(Transport.TCP, DialError.DEADLINE)
    metrics.blocked(Direction.OUTBOUND, Resource.STREAM)
    metrics.probed(Check.ADDRESS, success=True)
    assert value(registry, "covey_build_info", version="1.2.3", role="relay") == 1
    assert value(registry, "libp2p_rcmgr_connections", dir="inbound") == 1
    assert value(registry, "libp2p_rcmgr_blocked_resources", dir="outbound", resource="stream") == 1
    assert (
        value(registry, "libp2p_swarm_connections_opened_total", dir="inbound", transport="ws", ip_version="ip6") == 1
    )
    assert value(registry, "libp2p_swarm_dial_errors_total", transport="tcp", error="deadline") == 1
    assert value(registry, "covey_selfprobe_success", check="address") == 1
    metrics.connection_closed(Direction.INBOUND)
    metrics.probed(Check.ADDRESS, success=False)
    assert value(registry, "libp2p_rcmgr_connections", dir="inbound") == 0
    assert (
        value(registry, "libp2p_swarm_connections_opened_total", dir="inbound", transport="ws", ip_version="ip6") == 1
    )
    assert value(registry, "covey_selfprobe_success", check="address") == 0


def test_exactly_one_state_is_set():
    registry = CollectorRegistry()
    metrics = CoreMetrics(registry, role="node", version="1")
    assert [value(registry, "covey_state", state=state.value) for state in State] == [1, 0, 0]
    for state in State:
        metrics.set_state(state)
        assert {known: value(registry, "covey_state", state=known.value) for known in State} == {
            known: float(known is state) for known in State
        }


def test_the_process_is_measured_too():
    registry = CollectorRegistry()
    CoreMetrics(registry, role="node", version="1")
    text = generate_latest(registry).decode()
    for name in ("process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"):
        assert f"\n{name} " in text


def test_two_components_in_one_process_do_not_share_metrics():
    first, second = CollectorRegistry(), CollectorRegistry()
    CoreMetrics(first, role="node", version="1").connection_opened(Direction.INBOUND, Transport.TCP, IpVersion.IP4)
    CoreMetrics(second, role="relay", version="1")
    assert value(second, "libp2p_rcmgr_connections", dir="inbound") == 0


def test_no_label_can_hold_a_peer_or_an_address():
    registry = CollectorRegistry()
    CoreMetrics(registry, role="node", version="1")
    labels = {label for family in registry.collect() for sample in family.samples for label in sample.labels}
    known = {"version", "role", "state", "dir", "resource", "transport", "ip_version", "error", "check", "source"}
    assert labels <= known
