"""An error that nobody foresaw ends a task for a while, and nothing else."""

from itertools import pairwise
from typing import Any

import pytest
import trio
import trio.testing
from prometheus_client import CollectorRegistry
from trio.testing import MockClock

from covey_core.host import HostConfig, open_host
from covey_core.identity import Identity
from covey_core.metrics import CoreMetrics
from covey_core.network import new_network
from covey_node import limits
from covey_node.net.lasting import failed, lasting
from tests.node.conftest import Failures


class Broken(Exception):
    """Nobody foresaw it."""


async def test_a_task_that_fails_is_run_again_after_ever_longer_pauses(
    autojump_clock: MockClock, failures: Failures
) -> None:
    begun: list[float] = []

    async def run() -> None:
        begun.append(trio.current_time())
        async with trio.open_nursery():
            raise Broken

    with trio.move_on_after(600):
        await lasting("test", run)
    assert failures.take() == ["test: Broken"] * len(begun)
    pauses = [after - before for before, after in pairwise(begun)]
    assert pauses[0] <= limits.TASK_AGAIN_SECONDS
    assert max(pauses) <= limits.TASK_AGAIN_SECONDS_MAX
    assert pauses[-1] >= limits.TASK_AGAIN_SECONDS_MAX / 2


async def test_a_failing_task_that_was_begun_in_a_host_is_counted(failures: Failures) -> None:
    async def run() -> None:
        raise Broken

    registry = CollectorRegistry()
    metrics = CoreMetrics(registry, role="node", version="1")
    config = HostConfig(Identity.generate(), new_network("test", private=False))
    async with (
        open_host(config, metrics=metrics),
        open_host(config),  # as a node's second one, for the DHT
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(failed, "test", run)
    await failed("afterwards", run)
    assert failures.take() == ["test: Broken", "afterwards: Broken"]
    assert registry.get_sample_value("covey_contained_errors_total", {"source": "task"}) == 1


async def test_a_task_that_ran_long_is_run_again_soon(autojump_clock: MockClock, failures: Failures) -> None:
    ended: list[float] = []
    begun: list[float] = []

    async def run() -> None:
        begun.append(trio.current_time())
        await trio.sleep(limits.TASK_AGAIN_SECONDS_MAX + 1)
        ended.append(trio.current_time())
        raise Broken

    with trio.move_on_after(1_000):
        await lasting("test", run)
    assert failures.take()
    assert all(after - before <= limits.TASK_AGAIN_SECONDS for before, after in zip(ended, begun[1:], strict=False))


async def test_a_task_that_returns_or_is_cancelled_is_over(autojump_clock: MockClock) -> None:
    await lasting("test", trio.lowlevel.checkpoint)
    with trio.move_on_after(1) as scope:
        await lasting("test", trio.sleep_forever)
    assert scope.cancelled_caught


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
async def test_what_is_meant_for_the_process_passes(interrupt: Any) -> None:
    async def run() -> None:
        raise interrupt

    with pytest.raises(interrupt):
        await lasting("test", run)
