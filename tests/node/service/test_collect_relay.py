"""Queues at relays that are busy, forget, lie, go and come back, with hours and days that pass at once."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from covey_core.wire import mailbox as m
from covey_node import limits
from covey_node.protocol.frames import Outcome
from covey_node.protocol.status import ContactState
from covey_node.service.effects import Effects
from covey_node.store import contacts
from covey_node.store.queues import QueueState
from covey_node.store.tx import Tx
from tests.node.service.collect_fakes import PACKET, World

HOUR = 3600.0
DAY = 24 * HOUR


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.lanes.close()


@asynccontextmanager
async def collecting(world: World) -> AsyncIterator[None]:
    """Collect for the length of the block, which begins when all has settled."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.collecting.run)
        await trio.sleep(5)
        yield
        nursery.cancel_scope.cancel()


async def test_three_queues_are_made_and_told_once(world: World, autojump_clock: MockClock) -> None:
    async with collecting(world):
        assert set(world.queues()) == {"ann", "bea", "cat"}
        [(_, told)] = world.use.told
        assert (told.number, len(told.replicas)) == (1, 3)
        await trio.sleep(DAY)
        assert len(world.use.told) == 1


async def test_a_dead_relay_is_waited_for_a_moment_and_told_when_it_comes(
    world: World, autojump_clock: MockClock
) -> None:
    world.relays.fail("cat")
    async with collecting(world):
        [(at, told)] = world.use.told
        assert len(told.replicas) == 2
        assert at <= limits.MAILBOX_SETTLE_SECONDS + 1
        world.relays.down.clear()
        await trio.sleep(limits.MAILBOX_RELAY_RETRY_SECONDS_MAX)
        assert [len(one.replicas) for _, one in world.use.told] == [2, 3]


async def test_fewer_than_a_quorum_are_told_after_a_minute(world: World, autojump_clock: MockClock) -> None:
    world.relays.fail("bea", "cat")
    async with collecting(world):
        assert world.use.told == []
        await trio.sleep(limits.MAILBOX_FEW_SECONDS + 5)
        [(_, told)] = world.use.told
        assert len(told.replicas) == 1


async def test_a_dead_relay_is_passed_over_where_another_answers(world: World, autojump_clock: MockClock) -> None:
    world.relays.known.append("dan")
    world.relays.fail("ann", "bea")
    async with collecting(world):
        assert set(world.queues()) == {"cat", "dan"}
        world.relays.down.discard("bea")
        await trio.sleep(HOUR)
        assert set(world.queues()) == {"bea", "cat", "dan"}


async def test_nothing_is_acknowledged_while_the_disk_is_full(world: World, autojump_clock: MockClock) -> None:
    async with collecting(world):
        world.incoming.refusals = [Outcome.RETRY_LATER] * 3
        world.put("ann", os.urandom(PACKET))
        await trio.sleep(2 * limits.STORE_RETRY_SECONDS)
        assert world.relays.asked("ann", m.Ack) == []
        await trio.sleep(2 * limits.STORE_RETRY_SECONDS)
        assert world.lying("ann") == 0
        assert len(world.incoming.taken) == 1


async def test_what_one_relay_brought_is_acknowledged_at_the_others_which_may_bring_it_too(
    world: World, autojump_clock: MockClock
) -> None:
    async with collecting(world):
        packets = [os.urandom(PACKET) for _ in range(5)]
        for packet in packets:
            world.put("ann", packet)
        await trio.sleep(1)
        assert world.incoming.taken == packets
        for name in ("ann", "bea", "cat"):
            mids = {mid for command in world.relays.asked(name, m.Ack) for mid in command.mids}  # type: ignore[union-attr]
            assert mids == {world.keys(name).mid(packet) for packet in packets}, name
        for packet in packets:
            world.put("bea", packet)
        await trio.sleep(1)
        assert world.lying("bea") == 0, "they came after they had been acknowledged, and are acknowledged again"
        assert len(world.incoming.taken) == 5


async def test_acknowledgements_are_gathered(world: World, autojump_clock: MockClock) -> None:
    async with collecting(world):
        for _ in range(1100):
            world.put("ann", os.urandom(PACKET))
        await trio.sleep(5)
        assert world.lying("ann") == 0
        assert [len(command.mids) for command in world.relays.asked("ann", m.Ack)] == [1024, 76]  # type: ignore[union-attr]


async def test_a_busy_relay_is_asked_again_when_it_said(world: World, autojump_clock: MockClock) -> None:
    world.relays.answers["ann", m.New] = [m.Refused(m.Reason.BUSY, 30)]
    async with collecting(world):
        assert set(world.queues()) == {"bea", "cat"}
        await trio.sleep(30)
        assert set(world.queues()) == {"ann", "bea", "cat"}
        first, second = world.relays.times("ann", m.New)
        assert second - first >= 30


@pytest.mark.parametrize("answer", [m.Refused(m.Reason.AUTH), m.Done()])
async def test_a_relay_that_will_not_make_a_queue_is_asked_with_another_key(
    world: World, autojump_clock: MockClock, answer: m.Answer
) -> None:
    world.relays.answers["ann", m.New] = [answer]
    async with collecting(world):
        assert set(world.queues()) == {"ann", "bea", "cat"}
        first, second = world.relays.asked("ann", m.New)
        assert first.recv_key != second.recv_key  # type: ignore[union-attr]


async def test_a_relay_that_gives_the_same_ids_twice_is_left_where_another_is_known(
    world: World, autojump_clock: MockClock
) -> None:
    ids = m.Ids(b"r" * 24, b"s" * 24, 1, 1, 1)
    world.relays.answers["ann", m.New] = [ids] * 9
    async with collecting(world):
        world.lanes.contact("carol")
        world.relays.known.append("dan")
        await trio.sleep(HOUR)
        rows = world.read(lambda tx: tx.all("SELECT recv_id FROM queues WHERE state = 'standing'"))
        assert len(rows) == 6
        assert len(set(rows)) == 6


async def test_a_relay_that_is_silent_is_asked_ever_more_seldom_and_at_once_when_our_network_changes(
    world: World, autojump_clock: MockClock
) -> None:
    async with collecting(world):
        world.relays.fail("ann")
        start = trio.current_time()
        await trio.sleep(HOUR)
        tries = [at for at in world.relays.times("ann", m.Sub) if at > start]
        assert 10 < len(tries) < 60
        pauses = [later - earlier for earlier, later in pairwise(tries)]
        assert max(pauses) <= limits.MAILBOX_RELAY_RETRY_SECONDS_MAX + 1
        assert pauses[0] < limits.MAILBOX_RELAY_RETRY_SECONDS_MIN * 3
        world.relays.down.clear()
        world.collecting.network_changed()
        await trio.sleep(1)
        assert world.collecting.seen().listening == frozenset(world.relays.peers[name] for name in world.relays.known)


async def test_a_connection_that_died_without_a_word_is_noticed_and_made_anew(
    world: World, autojump_clock: MockClock
) -> None:
    async with collecting(world):
        world.relays.down.add("ann")  # and nothing says so: the subscription seems to stand
        await trio.sleep(limits.MAILBOX_PROBE_SECONDS + 60)
        listening = {world.relays.names[peer] for peer in world.collecting.seen().listening}
        assert listening == {"bea", "cat"}
        world.relays.down.clear()
        await trio.sleep(limits.MAILBOX_RELAY_RETRY_SECONDS_MAX)
        listening = {world.relays.names[peer] for peer in world.collecting.seen().listening}
        assert listening == {"ann", "bea", "cat"}


async def test_a_relay_that_is_silent_for_a_day_is_replaced_and_read_again_when_it_is_back(
    world: World, autojump_clock: MockClock
) -> None:
    world.relays.known.append("dan")
    async with collecting(world):
        chosen = set(world.queues())
        [spare] = {*world.relays.known} - chosen
        gone = min(chosen)
        lost = os.urandom(PACKET)
        world.put(gone, lost)
        world.relays.fail(gone)
        await trio.sleep(23 * HOUR)
        assert set(world.queues()) == chosen
        await trio.sleep(3 * HOUR)
        assert set(world.queues()) == {*chosen, spare} - {gone}
        assert set(world.queues(QueueState.LEAVING)) == {gone}
        assert [one.number for _, one in world.use.told] == [1, 2]
        another = os.urandom(PACKET)
        world.put(gone, another)  # by one who does not know
        world.relays.down.clear()
        await trio.sleep(HOUR)
        assert {lost, another} <= set(world.incoming.taken)
        assert world.relays.asked(gone, m.Del) == [], "the contact has not confirmed the new set"
        world.use.known = 2
        await trio.sleep(HOUR)
        assert len(world.relays.asked(gone, m.Del)) == 1
        assert world.queues(QueueState.LEAVING, QueueState.ENDING) == {}


async def test_no_relay_is_replaced_because_our_own_line_is_down(world: World, autojump_clock: MockClock) -> None:
    world.relays.known.append("dan")
    async with collecting(world):
        chosen = set(world.queues())
        world.relays.fail(*world.relays.known)
        await trio.sleep(25 * HOUR)
        world.relays.down.clear()
        await trio.sleep(HOUR)
        assert set(world.queues()) == chosen
        assert len(world.use.told) == 1


async def test_a_relay_that_lost_its_disk_is_given_a_new_queue_or_passed_over(
    world: World, autojump_clock: MockClock
) -> None:
    async with collecting(world):
        before = world.queues()
        world.relays.queues["ann"].clear()
        world.relays.fail("ann")
        world.relays.down.clear()
        await trio.sleep(HOUR)
        assert world.queues()["ann"].recv_seed != before["ann"].recv_seed
        world.relays.known.append("dan")
        world.relays.queues["ann"].clear()
        world.relays.fail("ann")
        world.relays.down.clear()
        await trio.sleep(HOUR)
        assert set(world.queues()) == {"bea", "cat", "dan"}


async def test_blocking_deletes_all_queues_also_where_a_relay_is_away(world: World, autojump_clock: MockClock) -> None:
    async with collecting(world):
        world.relays.fail("ann")

        def block(tx: Tx, effects: Effects) -> None:
            row = contacts.get(tx, world.contact)
            assert row is not None
            contacts.save(tx, replace(row, state=ContactState.BLOCKED))
            effects.contact(world.contact)

        await world.lanes.ledger.change(block)
        await trio.sleep(5)
        assert world.relays.queues["bea"] == world.relays.queues["cat"] == {}
        world.relays.down.clear()
        await trio.sleep(HOUR)
        assert world.relays.queues["ann"] == {}
        assert world.read(lambda tx: tx.all("SELECT secret FROM queue_sets")) == [(None,)]
        assert world.read(lambda tx: tx.number("SELECT count(*) FROM queues")) == 0


async def test_a_relay_that_never_comes_back_is_forgotten_after_its_queues_are(
    world: World, autojump_clock: MockClock
) -> None:
    world.relays.known.append("dan")
    async with collecting(world):
        gone = min(world.queues())
        world.relays.fail(gone)
        await trio.sleep(26 * HOUR)
        assert set(world.queues(QueueState.LEAVING)) == {gone}
        world.days_later(100)
        await trio.sleep(HOUR)
        assert world.queues(QueueState.LEAVING) == {}
