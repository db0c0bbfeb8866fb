"""Waiting for a message's status, driven by events."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from covey_node.api.waiting import reached, wait_until
from covey_node.service.port import MessageView, NotFound, Status
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
            port,
            lambda: port.message(view.id),
            lambda one: reached(one.status, Status.DELIVERED),
            seconds=60,
            shutdown=trio.Event(),
        )
    assert found.status is Status.DELIVERED
    assert trio.current_time() == pytest.approx(7, abs=0.1)
    assert not port.subscribers


async def test_the_truth_comes_when_the_time_is_over(autojump_clock: MockClock) -> None:
    port = FakePort()
    view = await _queued(port)
    found = await wait_until(
        port,
        lambda: port.message(view.id),
        lambda one: reached(one.status, Status.DELIVERED),
        seconds=60,
        shutdown=trio.Event(),
    )
    assert (found.status, found.reason) == (Status.QUEUED, "bob is not online")
    assert trio.current_time() == pytest.approx(60, abs=0.1)


async def test_nobody_waits_without_a_time_to_wait(autojump_clock: MockClock) -> None:
    port = FakePort()
    view = await _queued(port)
    await wait_until(port, lambda: port.message(view.id), lambda _: False, seconds=0, shutdown=trio.Event())
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
        found = await wait_until(
            port, lambda: port.message(view.id), lambda _: False, seconds=60, shutdown=trio.Event()
        )
    assert found.status is Status.QUEUED


async def test_what_vanishes_while_it_is_waited_for_is_not_found(autojump_clock: MockClock) -> None:
    port = FakePort()
    view = await _queued(port)

    async def forget() -> None:
        await trio.sleep(2)
        port.texts.clear()
        port.emit("node", {})

    async with trio.open_nursery() as nursery:
        nursery.start_soon(forget)
        caught = None
        try:
            await wait_until(port, lambda: port.message(view.id), lambda _: False, seconds=60, shutdown=trio.Event())
        except NotFound as exc:
            caught = exc
    assert caught is not None


async def test_a_node_that_stops_ends_the_waiting_with_the_truth(autojump_clock: MockClock) -> None:
    port, shutdown = FakePort(), trio.Event()
    view = await _queued(port)

    async def stop() -> None:
        await trio.sleep(2)
        shutdown.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stop)
        found = await wait_until(port, lambda: port.message(view.id), lambda _: False, seconds=60, shutdown=shutdown)
    assert found.status is Status.QUEUED
    assert trio.current_time() == pytest.approx(2, abs=0.1)


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
