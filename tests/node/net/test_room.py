"""Room for bytes that several streams share."""

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from covey_node.net.room import Held, Room


async def test_who_finds_no_room_waits_until_some_is_given_back(autojump_clock: MockClock) -> None:
    room = Room(100)
    first, second = Held(room), Held(room)
    await first.take(80)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(second.take, 30)
        await wait_all_tasks_blocked()
        assert room.taken_bytes == 80
        first.give(20)
        await wait_all_tasks_blocked()
        assert room.taken_bytes == 90
    first.give_all()
    second.give_all()
    assert room.taken_bytes == 0


async def test_a_piece_larger_than_the_room_is_let_in_alone(autojump_clock: MockClock) -> None:
    room = Room(10)
    await room.take(50)
    with trio.move_on_after(1) as scope:
        await room.take(1)
    assert scope.cancelled_caught
    room.give(50)
    await room.take(1)
