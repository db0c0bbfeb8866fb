"""A relay that makes queues and then does not know them: asked ever more seldom, told of now and then."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from covey_core.wire import mailbox as m
from tests.node.service.collect_fakes import NAMES, World

HOUR = 3600.0
ASKED = 8
"""Most queues asked for in 90 s: at once, at once, after 2 s, and after twice the pause before."""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.lanes.close()


def _forgets(world: World, name: str) -> None:
    """Have a relay forget each queue as soon as it has made it."""
    honest = world.relays._answer

    def answer(asked: str, command: m.Command) -> m.Answer:
        found = honest(asked, command)
        if asked == name and isinstance(found, m.Ids):
            world.relays.queues[name].pop(found.recv_id)
        return found

    world.relays._answer = answer  # type: ignore[method-assign]


def _wiped(world: World, name: str) -> None:
    """Have a relay lose its disk, and its connections."""
    world.relays.queues[name].clear()
    world.relays.fail(name)
    world.relays.down.clear()


def _sizes(world: World) -> list[int]:
    return [len(told.replicas) for _, told in world.use.told]


@pytest.mark.parametrize("known", [3, 4])
async def test_a_relay_that_forgets_every_queue_neither_floods_nor_keeps_the_others_from_being_told(
    world: World, autojump_clock: MockClock, known: int
) -> None:
    world.relays.known = list(NAMES[:known])
    _forgets(world, "cat")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.collecting.run)
        await trio.sleep(3)
        assert len(world.use.told) == 1, "a quorum stands, and is told"
        assert _sizes(world)[0] >= 2
        await trio.sleep(87)
        assert len(world.relays.asked("cat", m.New)) <= ASKED
        assert set(world.queues()) == {*world.relays.known} - {"cat"}
        assert len(world.use.told) <= 2
        await trio.sleep(24 * HOUR)
        assert len(world.relays.asked("cat", m.New)) <= ASKED + 30
        nursery.cancel_scope.cancel()


async def test_a_relay_that_begins_to_forget_every_queue_is_asked_ever_more_seldom(
    world: World, autojump_clock: MockClock
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.collecting.run)
        await trio.sleep(10)
        _forgets(world, "cat")
        _wiped(world, "cat")
        await trio.sleep(90)
        assert len(world.relays.asked("cat", m.New)) <= ASKED + 1
        assert set(world.queues()) == {"ann", "bea"}
        assert _sizes(world) == [3, 2]
        nursery.cancel_scope.cancel()


async def test_a_relay_that_forgets_a_second_later_does_not_make_us_tell_a_set_a_second(
    world: World, autojump_clock: MockClock
) -> None:
    honest = world.relays.subscribe

    async def slow(at, *args, **kwargs) -> None:  # type: ignore[no-untyped-def]
        if world.relays.names[at.relay] == "cat":
            await trio.sleep(1)
        await honest(at, *args, **kwargs)

    world.relays.subscribe = slow  # type: ignore[method-assign]
    _forgets(world, "cat")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.collecting.run)
        await trio.sleep(90)
        assert len(world.relays.asked("cat", m.New)) <= ASKED
        assert len(world.use.told) <= 5
        await trio.sleep(2 * HOUR)
        assert len(world.use.told) <= 30
        nursery.cancel_scope.cancel()


async def test_a_relay_that_lost_its_disk_once_is_taken_up_again_at_once_and_told_of_once(
    world: World, autojump_clock: MockClock
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.collecting.run)
        await trio.sleep(10)
        _wiped(world, "cat")
        await trio.sleep(5)
        assert set(world.queues()) == {"ann", "bea", "cat"}
        assert _sizes(world) == [3, 3]
        nursery.cancel_scope.cancel()
