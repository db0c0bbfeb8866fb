"""Waiting for a message's status, driven by events."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from covey_node.api.waiting import reached, wait_until
from covey_node.service.port import MessageView, Status
from tests.node.api.fake_port import FakePort


async def _queued(port: FakePort) -> MessageView:
    port.delivers = None
    return await port.send("bob", "hi", reply_to=None, disappear_seconds=None)


async def test_the_answer_comes_with_the_status_that_was_waited_for(autojump_clock: MockClock) -> None:
    port = FakePort()
    view = await _queued(port)

    async def network() -> None:
        await trio.sleep(3)
        port.advance(view.id, Status.SENT)
        await trio.sleep(4)
        port.advance(view.id, Status.DELIVERED)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(network)
        found = await wait_until(
            port, lambda: port.message(view.id), lambda one: reached(one.status, Status.DELIVERED), seconds=60
        )
    assert found.status is Status.DELIVERED
    assert trio.current_time() == pytest.approx(7, abs=0.1)
    assert not port.subscribers


async def test_the_truth_comes_when_the_time_is_over(autojump_clock: MockClock) -> None:
    port = FakePort()
    view = await _queued(port)
    found = await wait_until(
        port, lambda: port.message(view.id), lambda one: reached(one.status, Status.DELIVERED), seconds=60
    )
    assert (found.status, found.reason) == (Status.QUEUED, "bob is not online")
    assert trio.current_time() == pytest.approx(60, abs=0.1)


async def test_nobody_waits_without_a_time_to_wait(autojump_clock: MockClock) -> None:
    port = FakePort()
    view = await _queued(port)
    await wait_until(port, lambda: port.message(view.id), lambda _: False, seconds=0)
    assert trio.current_time() == 0


async def test_an_event_stream_that_ends_ends_the_waiting(autojump_clock: MockClock) -> None:
    port = FakePort()
    view = await _queued(port)

    async def cut() -> None:
        await trio.sleep(2)
        for channel in tuple(port.subscribers):
            channel.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(cut)
        found = await wait_until(port, lambda: port.message(view.id), lambda _: False, seconds=60)
    assert found.status is Status.QUEUED


@pytest.mark.parametrize(
    ("status", "wanted", "enough"),
    [
        (Status.QUEUED, Status.SENT, False),
        (Status.SENT, Status.SENT, True),
        (Status.SENT, Status.DELIVERED, False),
        (Status.READ, Status.DELIVERED, True),
        (Status.FAILED, Status.READ, True),
        (Status.EXPIRED, Status.READ, True),
        (Status.RECEIVED, Status.READ, True),
    ],
)
def test_a_status_is_reached_or_will_never_be(status: Status, wanted: Status, enough: bool) -> None:
    assert reached(status, wanted) is enough
