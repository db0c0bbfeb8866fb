import pytest
from prometheus_client import CollectorRegistry

from covey_core import limits
from covey_core.health import Health, State
from covey_core.metrics import CoreMetrics


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def test_only_a_ready_component_is_ready():
    health = Health()
    assert not health.ready().ok
    assert health.ready().reasons == {"state": "the component is starting"}
    health.set_state(State.READY)
    assert health.ready().ok
    health.set_state(State.DRAINING)
    assert health.ready().reasons == {"state": "the component is draining"}
    assert health.alive().ok


def test_a_missing_requirement_is_named():
    health = Health()
    health.set_state(State.READY)
    missing = "no relay has a slot for us"
    health.require("relays", lambda: missing)
    assert health.ready().reasons == {"relays": missing}
    missing = None
    assert health.ready().ok


def test_a_stalled_task_makes_the_component_not_alive_until_it_runs_again():
    clock = Clock()
    health = Health(clock=clock)
    beat = health.heartbeat("keeper", bound_seconds=10)
    clock.now += 10
    assert health.alive().ok
    clock.now += 0.5
    assert health.alive().reasons == {"keeper": "no heartbeat for 0.5 s over its bound"}
    beat.touch()
    assert health.alive().ok


def test_a_task_that_ended_on_purpose_is_forgotten():
    clock = Clock()
    health = Health(clock=clock)
    health.heartbeat("keeper", bound_seconds=1)
    health.forget("keeper")
    health.forget("never registered")
    clock.now += 100
    assert health.alive().ok


def test_the_metric_follows_the_state():
    registry = CollectorRegistry()
    health = Health(metrics=CoreMetrics(registry, role="node", version="1"))
    health.set_state(State.DRAINING)
    assert registry.get_sample_value("covey_state", {"state": "draining"}) == 1
    assert registry.get_sample_value("covey_state", {"state": "starting"}) == 0


def test_checks_are_bounded_and_have_one_name_each():
    health = Health()
    health.require("a", lambda: None)
    with pytest.raises(ValueError, match="registered already"):
        health.require("a", lambda: None)
    for number in range(limits.HEALTH_CHECKS):
        health.heartbeat(str(number), bound_seconds=1)
    with pytest.raises(ValueError, match="more than"):
        health.heartbeat("one more", bound_seconds=1)
