"""Lanes with everything that can go wrong around them: nothing is lost, nobody waits for ever."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from covey_core.identity import Identity
from covey_core.peers import PeerId, peer_id_of
from covey_node import limits
from covey_node.protocol.frames import Outcome
from covey_node.protocol.status import Status
from covey_node.service.delivery import Delivery
from covey_node.service.effects import Effects
from covey_node.store.tx import Tx
from tests.node.service.lane_world import FakeStream, World

DEVICE = Identity.generate().public_key


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


def _delivery(world: World) -> Delivery:
    return Delivery(world.ledger, world.own, world.host, world.reach)  # type: ignore[arg-type]


async def _opened(world: World) -> tuple[PeerId, FakeStream]:
    with trio.fail_after(limits.BACKOFF_MAX_SECONDS):
        return await world.host.opened.receive()


async def _arrives(stream: FakeStream) -> int:
    with trio.fail_after(limits.ACK_SECONDS):
        return (await stream.packets.receive()).number


async def test_what_is_queued_after_a_lane_was_dropped_goes_out_all_the_same(
    world: World, autojump_clock: MockClock
) -> None:
    bob = world.contact()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_delivery(world).run)
        await world.queue(bob, DEVICE)
        _, stream = await _opened(world)
        await _arrives(stream)
        await world.queue(bob, DEVICE, drop_first=True)
        _, again = await _opened(world)
        await _arrives(again)
        nursery.cancel_scope.cancel()


async def test_lanes_begin_although_the_database_failed_at_the_start(world: World, autojump_clock: MockClock) -> None:
    message = await world.queue(world.contact(), DEVICE)
    world.database.failures = 3
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_delivery(world).run)
        _, stream = await _opened(world)
        stream.answer(await _arrives(stream))
        await wait_all_tasks_blocked()
        assert world.status(message) is Status.DELIVERED
        nursery.cancel_scope.cancel()


async def test_a_lane_that_ended_because_the_database_failed_begins_anew(
    world: World, autojump_clock: MockClock
) -> None:
    bob = world.contact()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_delivery(world).run)
        await wait_all_tasks_blocked()
        message = await world.queue(bob, DEVICE)
        world.database.failures = 1
        _, stream = await _opened(world)
        stream.answer(await _arrives(stream))
        await wait_all_tasks_blocked()
        assert world.status(message) is Status.DELIVERED
        nursery.cancel_scope.cancel()


async def test_an_answer_for_nothing_loses_none_of_the_answers_before_it(
    world: World, autojump_clock: MockClock
) -> None:
    bob = world.contact()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_delivery(world).run)
        await world.queue(bob, DEVICE)
        message = await world.queue(bob, DEVICE)
        _, stream = await _opened(world)
        first, second = await _arrives(stream), await _arrives(stream)
        world.database.goes_on = trio.Event()
        stream.answer(first)
        await wait_all_tasks_blocked()  # it is being written down: what comes now is settled in one go
        stream.answer(second)
        stream.answer(second)
        await wait_all_tasks_blocked()
        world.database.goes_on.set()
        _, again = await _opened(world)
        again.answer(await _arrives(again), Outcome.DUPLICATE)
        await wait_all_tasks_blocked()
        assert world.status(message) is Status.DELIVERED
        nursery.cancel_scope.cancel()


async def test_an_idle_lane_makes_way_for_one_that_has_something_to_say(
    world: World, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LANES_MAX", 2)
    keys = [Identity.generate().public_key for _ in range(4)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_delivery(world).run)
        start = trio.current_time()
        for number, key in enumerate(keys):
            await world.queue(world.contact(str(number)), key)
            peer, stream = await _opened(world)
            assert peer == peer_id_of(key)
            stream.answer(await _arrives(stream))
        assert trio.current_time() - start < limits.CHAT_IDLE_SECONDS
        nursery.cancel_scope.cancel()


async def test_a_packet_that_expired_during_a_pause_is_not_sent(world: World, autojump_clock: MockClock) -> None:
    bob = world.contact()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_delivery(world).run)
        await world.queue(bob, DEVICE)
        _, stream = await _opened(world)
        stream.answer(await _arrives(stream), Outcome.RETRY_LATER)
        await wait_all_tasks_blocked()
        await world.queue(bob, DEVICE)  # read along, and then it waits with the first
        await wait_all_tasks_blocked()

        def forget(tx: Tx, _effects: Effects) -> None:
            tx.execute("DELETE FROM deliveries WHERE id = (SELECT max(id) FROM deliveries)")

        await world.ledger.change(forget)
        stream.answer(await _arrives(stream))
        with trio.move_on_after(limits.ACK_SECONDS) as scope:
            await stream.packets.receive()
        assert scope.cancelled_caught
        nursery.cancel_scope.cancel()


async def test_a_better_path_takes_over_and_what_was_not_answered_goes_over_it_first(
    world: World, autojump_clock: MockClock
) -> None:
    bob, delivery = world.contact(), _delivery(world)
    world.reach.used = 1
    async with trio.open_nursery() as nursery:
        nursery.start_soon(delivery.run)
        messages = [await world.queue(bob, DEVICE) for _ in range(3)]
        peer, old = await _opened(world)
        first = [await old.packets.receive() for _ in range(3)]
        old.answer(first[0].number)
        await wait_all_tasks_blocked()
        world.reach.used = 2
        delivery.path_changed(peer)
        _, new = await _opened(world)
        assert new.number == 2
        messages.append(await world.queue(bob, DEVICE))
        again = [await new.packets.receive() for _ in range(3)]
        assert [packet.blob for packet in again[:2]] == [packet.blob for packet in first[1:]]
        assert [packet.number for packet in again] == [1, 2, 3]
        for packet in again:
            new.answer(packet.number, Outcome.DUPLICATE)
        await wait_all_tasks_blocked()
        assert all(world.status(message) is Status.DELIVERED for message in messages)
        assert old.closed.is_set()
        nursery.cancel_scope.cancel()


async def test_the_old_stream_works_on_until_the_one_on_the_better_path_stands(
    world: World, autojump_clock: MockClock
) -> None:
    bob, delivery = world.contact(), _delivery(world)
    world.reach.used = 1
    async with trio.open_nursery() as nursery:
        nursery.start_soon(delivery.run)
        message = await world.queue(bob, DEVICE)
        peer, old = await _opened(world)
        number = await _arrives(old)
        world.host.refused.add(2)
        world.reach.used = 2
        delivery.path_changed(peer)
        await trio.sleep(1)
        old.answer(number)
        await wait_all_tasks_blocked()
        assert world.status(message) is Status.DELIVERED
        assert not old.closed.is_set()
        nursery.cancel_scope.cancel()


async def test_when_the_stream_dies_and_another_path_stands_there_is_no_pause(
    world: World, autojump_clock: MockClock
) -> None:
    bob, delivery = world.contact(), _delivery(world)
    world.reach.used = 1
    async with trio.open_nursery() as nursery:
        nursery.start_soon(delivery.run)
        message = await world.queue(bob, DEVICE)
        _, old = await _opened(world)
        await _arrives(old)
        began = trio.current_time()
        world.reach.used = 2
        old.lose()
        _, new = await _opened(world)
        new.answer(await _arrives(new))
        assert trio.current_time() == began
        await wait_all_tasks_blocked()
        assert world.status(message) is Status.DELIVERED
        nursery.cancel_scope.cancel()


async def test_when_the_stream_dies_and_nothing_else_stands_the_lane_pauses(
    world: World, autojump_clock: MockClock
) -> None:
    bob = world.contact()
    world.reach.used = 1
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_delivery(world).run)
        await world.queue(bob, DEVICE)
        _, old = await _opened(world)
        await _arrives(old)
        began = trio.current_time()
        old.lose()
        await _opened(world)
        assert trio.current_time() - began >= limits.BACKOFF_FIRST_SECONDS / 2
        nursery.cancel_scope.cancel()


async def test_the_keeper_hears_when_packets_are_under_way_and_when_none_are(
    world: World, autojump_clock: MockClock
) -> None:
    bob = world.contact()
    world.reach.used = 7
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_delivery(world).run)
        await world.queue(bob, DEVICE)
        _, stream = await _opened(world)
        number = await _arrives(stream)
        assert world.reach.waiting
        assert world.reach.sent_bytes == 4_096
        stream.answer(number)
        await wait_all_tasks_blocked()
        assert world.reach.heard == [7]
        assert not world.reach.waiting
        nursery.cancel_scope.cancel()


async def test_a_dropped_lane_ends_its_opening_at_once(world: World, autojump_clock: MockClock) -> None:
    bob, delivery = world.contact(), _delivery(world)
    world.reach.answers = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(delivery.run)
        await world.queue(bob, DEVICE)
        await wait_all_tasks_blocked()
        (lane,) = delivery._running.values()
        began = trio.current_time()
        lane.drop()
        await wait_all_tasks_blocked()
        assert lane not in delivery._running.values()
        assert trio.current_time() == began
        nursery.cancel_scope.cancel()


async def test_a_sweep_that_failed_is_made_again_soon(world: World, autojump_clock: MockClock) -> None:
    delivery = _delivery(world)
    sweeps: list[float] = []

    def sweep(_tx: Tx, _effects: Effects) -> float | None:
        sweeps.append(trio.current_time())
        return None

    delivery._sweep_now = sweep  # type: ignore[method-assign]
    world.database.failures = 2
    async with trio.open_nursery() as nursery:
        nursery.start_soon(delivery._expire)
        await trio.sleep(3 * limits.STORE_RETRY_SECONDS)
        assert len(sweeps) == 1
        nursery.cancel_scope.cancel()


async def test_an_answer_that_is_being_written_down_when_the_stream_ends_is_told_all_the_same(
    world: World, autojump_clock: MockClock
) -> None:
    bob, told = world.contact(), list[object]()
    world.ledger.events.publish = lambda kind, data: told.append((kind, data["status"]))  # type: ignore[method-assign, assignment, return-value]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_delivery(world).run)
        message = await world.queue(bob, DEVICE)
        _, stream = await _opened(world)
        number = await _arrives(stream)
        world.database.goes_on = trio.Event()
        stream.answer(number)
        await wait_all_tasks_blocked()
        stream.lose()
        await wait_all_tasks_blocked()
        world.database.goes_on.set()
        await wait_all_tasks_blocked()
        assert world.status(message) is Status.DELIVERED
        assert told[-1] == ("message", Status.DELIVERED)
        nursery.cancel_scope.cancel()
