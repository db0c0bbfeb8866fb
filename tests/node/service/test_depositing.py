"""Packets laid into mailboxes with everything that can go wrong there: what is shown is so, and nothing is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from copy import copy
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from covey_core.identity import Identity
from covey_core.peers import peer_id_bytes, peer_id_of, public_key_of
from covey_core.wire.mailbox import Have, Reason, Refused
from covey_node import limits
from covey_node.crypto.replica import ReplicaKeys
from covey_node.protocol.status import Status
from covey_node.service.effects import Effects, Wake
from covey_node.service.views import ONE_RELAY
from covey_node.store import deliveries, peer_mailboxes
from covey_node.store.tx import Tx
from tests.node.service.deposit_world import NAMES, DepositWorld

HOUR = 3600.0


@pytest.fixture
def deposit_world(tmp_path: Path) -> Iterator[DepositWorld]:
    made = DepositWorld(tmp_path)
    yield made
    made.world.close()


@asynccontextmanager
async def running(world: DepositWorld) -> AsyncIterator[None]:
    """A process that lays packets down, for the length of the block."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.depositing().run)
        await wait_all_tasks_blocked()
        yield
        nursery.cancel_scope.cancel()


async def test_a_packet_goes_to_all_mailboxes_at_once_when_no_path_stands(
    deposit_world: DepositWorld, autojump_clock: MockClock
) -> None:
    world = deposit_world
    await world.tell(world.mailboxes.told(1))
    async with running(world):
        message = await world.write()
        await world.until(message, "stored 3/3")
        assert trio.current_time() < limits.DEPOSIT_AFTER_SECONDS
    assert world.view(message).reason is None
    blobs = [world.mailboxes.puts(name)[0] for name in NAMES[:3]]
    assert len({put.mid for put in blobs}) == len({put.blob for put in blobs}) == 3, "no two replicas match"
    assert {put.ttl_seconds for put in blobs} == {limits.DEPOSIT_TTL_SECONDS}
    row = world.world.database.connection.read(lambda tx: deliveries.of_message(tx, message))[0]
    for put, relay in zip(blobs, world.mailboxes.relays, strict=False):
        keys = ReplicaKeys.derive(bytes(32), peer_id_bytes(relay), put.send_id)
        assert keys.open(put.mid, put.blob) == row.packet


async def test_while_a_path_stands_the_device_has_ten_seconds_to_acknowledge(
    deposit_world: DepositWorld, autojump_clock: MockClock
) -> None:
    world = deposit_world
    world.connected.add(peer_id_of(world.device))
    await world.tell(world.mailboxes.told(1))
    async with running(world):
        first, second = await world.write(), await world.write()
        await trio.sleep(limits.DEPOSIT_AFTER_SECONDS - 1)
        assert not world.mailboxes.calls
        await world.world.ledger.change(lambda tx, _: _delivered(tx, first))
        await world.until(second, "stored 3/3")
    assert {len(world.mailboxes.puts(name)) for name in NAMES[:3]} == {1}, "the first one was delivered by then"


async def test_each_packet_has_its_own_wait(deposit_world: DepositWorld, autojump_clock: MockClock) -> None:
    world = deposit_world
    world.connected.add(peer_id_of(world.device))
    await world.tell(world.mailboxes.told(1))
    async with running(world):
        first = await world.write()
        await trio.sleep(limits.DEPOSIT_AFTER_SECONDS - 2)
        second = await world.write()
        await world.until(first, "stored 3/3")
        await trio.sleep(1)
        assert world.copies(second) == "queued 0/3"
        await world.until(second, "stored 3/3")
        assert -2 <= trio.current_time() - 2 * limits.DEPOSIT_AFTER_SECONDS < 0


async def test_a_path_that_ends_ends_the_wait(deposit_world: DepositWorld, autojump_clock: MockClock) -> None:
    world = deposit_world
    world.connected.add(peer_id_of(world.device))
    await world.tell(world.mailboxes.told(1))
    async with running(world):
        message = await world.write()
        await trio.sleep(1)
        world.disconnect(peer_id_of(world.device))
        await world.until(message, "stored 3/3")
        assert trio.current_time() < limits.DEPOSIT_AFTER_SECONDS - 1


async def test_a_path_that_ends_ends_the_wait_of_what_joined_others(
    deposit_world: DepositWorld, autojump_clock: MockClock
) -> None:
    world = deposit_world
    await world.tell(world.mailboxes.told(1))
    async with running(world):
        world.mailboxes.hold = trio.Event()
        first = await world.write()
        await trio.sleep(1)
        world.connected.add(peer_id_of(world.device))
        second = await world.write()  # while the first is under way
        await trio.sleep(1)
        world.mailboxes.hold.set()
        await world.until(first, "stored 3/3")
        assert world.copies(second) == "queued 0/3"
        world.disconnect(peer_id_of(world.device))
        began = trio.current_time()
        await world.until(second, "stored 3/3")
        assert trio.current_time() - began < 1


async def test_one_relay_that_is_down_is_named_and_tried_again_until_it_has_its_copy(
    deposit_world: DepositWorld, autojump_clock: MockClock
) -> None:
    world = deposit_world
    world.mailboxes.trouble["club"] = "the relay does not answer"
    await world.tell(world.mailboxes.told(1))
    async with running(world):
        message = await world.write()
        await world.until(message, "stored 2/3")
        await trio.sleep(HOUR)
        assert world.view(message).reason == "club: the relay does not answer"
        tries = len(world.mailboxes.puts("club"))
        assert 10 < tries < 60, "tried again with a growing pause, at most 300 s"
        [dead] = [one for one in world.replicas(message) if one.stored_at is None]
        assert dead.next_attempt_at is not None
        assert -1 < dead.next_attempt_at - world.world.own.now() <= limits.BACKOFF_MAX_SECONDS
        del world.mailboxes.trouble["club"]
        await world.until(message, "stored 3/3")
    assert world.view(message).reason is None


async def test_fewer_than_a_quorum_leave_a_message_queued_with_the_reason(
    deposit_world: DepositWorld, autojump_clock: MockClock
) -> None:
    world = deposit_world
    world.mailboxes.trouble = {"club": "the relay does not answer", "school": Refused(Reason.QUOTA)}
    await world.tell(world.mailboxes.told(1))
    async with running(world):
        message = await world.write()
        await world.until(message, "queued 1/3")
        await trio.sleep(30)
    reason = world.view(message).reason or ""
    assert "1/3 mailboxes have it: club: the relay does not answer; school: the mailbox is full" in reason


async def test_a_single_mailbox_is_warned_of(deposit_world: DepositWorld, autojump_clock: MockClock) -> None:
    world = deposit_world
    await world.tell(world.mailboxes.told(1, NAMES[:1]))
    async with running(world):
        message = await world.write()
        await world.until(message, "stored 1/1")
    assert world.view(message).reason == ONE_RELAY


async def test_a_relay_that_lost_its_messages_is_found_out_and_given_them_again(
    deposit_world: DepositWorld, autojump_clock: MockClock
) -> None:
    world = deposit_world
    await world.tell(world.mailboxes.told(1))
    async with running(world):
        messages = [await world.write() for _ in range(3)]
        for message in messages:
            await world.until(message, "stored 3/3")
        world.mailboxes.held["home"].clear()
        world.mailboxes.takes_nothing["home"] = Refused(Reason.BUSY, 600)
        for message in messages:
            await world.until(message, "stored 2/3")
        assert trio.current_time() < 1.3 * HOUR
        assert world.view(messages[0]).reason == "home: it had the message and has it no more"
        world.mailboxes.takes_nothing.clear()
        began = trio.current_time()
        for message in messages:
            await world.until(message, "stored 3/3")
        assert trio.current_time() - began < 1000, "laid down again at once, and after the relay's pause"
    given = {put.mid: put.blob for put in world.mailboxes.puts("home")}
    assert len(given) == 3, "the same packets byte for byte"
    assert {put.mid for put in world.mailboxes.held["home"].values()} == given.keys()


async def test_what_a_relay_does_not_answer_is_not_taken_for_lost(
    deposit_world: DepositWorld, autojump_clock: MockClock
) -> None:
    world = deposit_world
    await world.tell(world.mailboxes.told(1))
    async with running(world):
        message = await world.write()
        await world.until(message, "stored 3/3")
        world.mailboxes.held["home"].clear()
        world.mailboxes.trouble["home"] = Refused(Reason.BUSY, 600)
        await trio.sleep(3 * HOUR)
        assert world.copies(message) == "stored 3/3"
        world.mailboxes.trouble["home"] = "the relay does not answer"
        await trio.sleep(3 * HOUR)
        assert world.copies(message) == "stored 3/3"
        del world.mailboxes.trouble["home"]
        await trio.sleep(2 * HOUR)
        assert len(world.mailboxes.held["home"]) == 1


async def test_copies_fall_with_the_reason_when_a_mailbox_is_gone(
    deposit_world: DepositWorld, autojump_clock: MockClock
) -> None:
    world = deposit_world
    await world.tell(world.mailboxes.told(1))
    async with running(world):
        message = await world.write()
        await world.until(message, "stored 3/3")
        world.mailboxes.trouble["home"] = Refused(Reason.AUTH)
        await world.until(message, "stored 2/3")
        await trio.sleep(1)
        assert world.view(message).reason == "home: the mailbox is not there any more, or is closed to us"
        world.mailboxes.trouble["club"] = world.mailboxes.trouble["home"]
        await world.until(message, "stored 1/3")
        assert world.view(message).status is Status.STORED, "a status never goes back"


async def test_a_new_set_takes_the_place_of_the_old_one_at_once(
    deposit_world: DepositWorld, autojump_clock: MockClock
) -> None:
    world = deposit_world
    world.mailboxes.trouble["club"] = "the relay does not answer"
    await world.tell(world.mailboxes.told(1))
    async with running(world):
        message = await world.write()
        await world.until(message, "stored 2/3")
        await world.tell(world.mailboxes.told(2, ("home", "harbour", "school")))
        began = trio.current_time()
        await world.until(message, "stored 3/3")
        assert trio.current_time() - began < 1
        assert len(world.mailboxes.puts("home")) == 1, "what lies in a queue that stays is not laid down again"
        tried = len(world.mailboxes.puts("club"))
        await trio.sleep(HOUR / 2)
        assert len(world.mailboxes.puts("club")) == tried
        await world.tell(world.mailboxes.told(3, ()))
        await world.write()
        await trio.sleep(60)
        assert world.copies(message) == "stored"
        assert len(world.mailboxes.puts("harbour")) == 1


async def test_a_restart_goes_on_and_asks_for_nothing_twice(
    deposit_world: DepositWorld, autojump_clock: MockClock
) -> None:
    world = deposit_world
    world.mailboxes.trouble["club"] = "the relay does not answer"
    await world.tell(world.mailboxes.told(1))
    async with running(world):
        message = await world.write()
        await world.until(message, "stored 2/3")
    del world.mailboxes.trouble["club"]
    async with running(world):
        await world.until(message, "stored 3/3")
        await trio.sleep(60)
    assert len(world.mailboxes.puts("home")) == len(world.mailboxes.puts("school")) == 1


async def test_checks_come_about_hourly_also_over_restarts(
    deposit_world: DepositWorld, autojump_clock: MockClock
) -> None:
    world = deposit_world
    await world.tell(world.mailboxes.told(1))
    for _ in range(12):
        async with running(world):
            if not world.mailboxes.calls:
                await world.until(await world.write(), "stored 3/3")
            await trio.sleep(HOUR / 2)
    asked = [name for name, command in world.mailboxes.calls if isinstance(command, Have)]
    for name in NAMES[:3]:
        assert 3 <= asked.count(name) <= 9


async def test_nothing_more_goes_to_a_contact_that_was_blocked(
    deposit_world: DepositWorld, autojump_clock: MockClock
) -> None:
    world = deposit_world
    world.mailboxes.trouble["club"] = "the relay does not answer"
    await world.tell(world.mailboxes.told(1))
    async with running(world):
        message = await world.write()
        await world.until(message, "stored 2/3")

        def block(tx: Tx, effects: Effects) -> None:
            deliveries.drop_of_contact(tx, world.contact, now=world.world.own.now(), reason="blocked")
            peer_mailboxes.forget(tx, world.contact)
            effects.drop(world.contact)

        await world.world.ledger.change(block)
        calls = len(world.mailboxes.calls)
        await trio.sleep(2 * HOUR)
        assert len(world.mailboxes.calls) == calls
    assert world.view(message).status is Status.FAILED


async def test_many_packets_are_laid_down_in_order_and_a_bounded_number_is_under_way(
    deposit_world: DepositWorld, autojump_clock: MockClock
) -> None:
    world = deposit_world
    messages = [await world.write() for _ in range(700)]  # more than two pages
    async with running(world):
        await world.tell(world.mailboxes.told(1))
        for message in messages:
            await world.until(message, "stored 3/3")
    assert world.mailboxes.most_under_way <= limits.DEPOSITS_UNDER_WAY_A_CONTACT
    assert all(len(world.mailboxes.puts(name)) == 700 for name in NAMES[:3])


async def test_relays_that_take_so_much_a_second_get_that_and_not_much_more(
    deposit_world: DepositWorld, autojump_clock: MockClock
) -> None:
    world = deposit_world
    world.mailboxes.a_second = 20
    messages = [await world.write() for _ in range(300)]
    async with running(world):
        await world.tell(world.mailboxes.told(1))
        for message in messages:
            await world.until(message, "stored 3/3")
        assert trio.current_time() < 60, "300 at 20 a second"
    for name in NAMES[:3]:
        assert len(world.mailboxes.puts(name)) < 2 * 300
    assert not any(isinstance(command, Have) for _, command in world.mailboxes.calls), "none of them was away"


async def test_a_full_mailbox_is_tried_again_as_soon_as_its_owner_shows_itself(
    deposit_world: DepositWorld, autojump_clock: MockClock
) -> None:
    world = deposit_world
    full = Refused(Reason.QUOTA)
    world.mailboxes.trouble = dict.fromkeys(NAMES[:3], full)
    await world.tell(world.mailboxes.told(1))
    async with running(world):
        message = await world.write()
        await trio.sleep(8 * HOUR)  # by then each is tried hourly
        tried = len(world.mailboxes.puts("home"))
        assert tried < 20
        world.mailboxes.trouble.clear()
        began = trio.current_time()
        await world.world.ledger.change(lambda _, effects: effects.lane(world.contact, world.device, Wake.SEEN))
        await world.until(message, "stored 3/3")
        assert trio.current_time() - began < 1
    assert len(world.mailboxes.puts("home")) == tried + 1


async def test_all_devices_try_a_dead_relay_together_and_go_on_together(
    deposit_world: DepositWorld, autojump_clock: MockClock
) -> None:
    world = deposit_world
    world.mailboxes.trouble["club"] = "the relay does not answer"
    await world.tell(world.mailboxes.told(1))
    carol = world.another()
    await carol.tell(world.mailboxes.told(1))
    async with running(world):
        message = await world.write()
        await world.until(message, "stored 2/3")
        await trio.sleep(HOUR)  # its pauses are the longest by now
        second = await carol.write()
        await carol.until(second, "stored 2/3")
        tried = len(world.mailboxes.puts("club"))
        del world.mailboxes.trouble["club"]
        await world.mailboxes.until_puts("club", tried + 1)
        began = trio.current_time()
        await world.until(message, "stored 3/3")
        await carol.until(second, "stored 3/3")
        assert trio.current_time() - began < 2
    assert tried < 2 * 40, "no more tries than one device alone makes, each"


async def test_what_was_delivered_meanwhile_holds_nothing_up(
    deposit_world: DepositWorld, autojump_clock: MockClock
) -> None:
    world = deposit_world
    world.mailboxes.trouble["club"] = "the relay does not answer"
    await world.tell(world.mailboxes.told(1))
    async with running(world):
        first, second = await world.write(), await world.write()
        await world.until(second, "stored 2/3")
        await world.world.ledger.change(lambda tx, _: _delivered(tx, first))
        tried = len(world.mailboxes.puts("club"))
        del world.mailboxes.trouble["club"]
        await world.until(second, "stored 3/3")
    assert len(world.mailboxes.puts("club")) == tried + 1


async def test_another_network_ends_the_pauses(deposit_world: DepositWorld, autojump_clock: MockClock) -> None:
    world = deposit_world
    world.mailboxes.trouble = dict.fromkeys(NAMES[:3], "no network")
    await world.tell(world.mailboxes.told(1))
    async with trio.open_nursery() as nursery:
        depositing = world.depositing()
        nursery.start_soon(depositing.run)
        message = await world.write()
        await trio.sleep(HOUR)
        world.mailboxes.trouble.clear()
        began = trio.current_time()
        depositing.network_changed()
        await world.until(message, "stored 3/3")
        assert trio.current_time() - began < 2
        nursery.cancel_scope.cancel()


async def test_all_mailboxes_together_have_a_bound_of_their_own(
    deposit_world: DepositWorld, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "DEPOSITS_UNDER_WAY_IN_ALL", 5)
    world = deposit_world
    messages = [await world.write() for _ in range(20)]
    async with running(world):
        await world.tell(world.mailboxes.told(1))
        for message in messages:
            await world.until(message, "stored 3/3")
    assert world.mailboxes.most_under_way == 5


async def test_a_contact_whose_mailboxes_are_silent_holds_up_no_other_contact(
    deposit_world: DepositWorld, autojump_clock: MockClock
) -> None:
    world = deposit_world
    for _ in range(limits.DEPOSITS_UNDER_WAY_IN_ALL):
        await world.write()
    silent = [world]
    for _ in range(3):  # further devices of the same contact
        silent.append(copy(world))
        silent[-1].device = public_key_of(Identity.generate().peer_id)
        for _ in range(limits.DEPOSITS_UNDER_WAY):
            await silent[-1].write()
    other = world.another()
    waits = await other.write()
    world.mailboxes.silent = {"club", "school"}
    async with running(world):
        for device in silent:
            await device.tell(world.mailboxes.told(1, ("club", "school")))
        await trio.sleep(1)
        assert world.mailboxes.under_way <= limits.DEPOSITS_UNDER_WAY_A_CONTACT
        began = trio.current_time()
        await other.tell(world.mailboxes.told(1, ("home", "harbour")))
        await other.until(waits, "stored 2/2")
        assert trio.current_time() - began < 1


async def test_a_silent_mailbox_holds_up_no_other_of_its_device(
    deposit_world: DepositWorld, autojump_clock: MockClock
) -> None:
    world = deposit_world
    messages = [await world.write() for _ in range(100)]
    world.mailboxes.silent = {"club"}
    async with running(world):
        await world.tell(world.mailboxes.told(1))
        for message in messages:
            await world.until(message, "stored 2/3")
        assert trio.current_time() < 1


async def test_a_database_that_fails_delays_and_loses_nothing(
    deposit_world: DepositWorld, autojump_clock: MockClock
) -> None:
    world = deposit_world
    await world.tell(world.mailboxes.told(1))
    async with running(world):
        message = await world.write()
        world.world.database.failures = 3
        await world.until(message, "stored 3/3")


async def test_an_answer_that_cannot_be_written_down_is_asked_for_again(
    deposit_world: DepositWorld, autojump_clock: MockClock
) -> None:
    world = deposit_world
    world.mailboxes.hold = trio.Event()
    await world.tell(world.mailboxes.told(1))
    async with running(world):
        message = await world.write()
        await trio.sleep(1)  # all three are under way
        world.world.database.failures = 2
        world.mailboxes.hold.set()
        await world.until(message, "stored 3/3")
        assert trio.current_time() >= limits.STORE_RETRY_SECONDS
    assert all(len(world.mailboxes.held[name]) == 1 for name in NAMES[:3])


async def test_a_check_during_which_the_database_fails_is_no_fault_of_the_relay(
    deposit_world: DepositWorld, autojump_clock: MockClock
) -> None:
    world = deposit_world
    await world.tell(world.mailboxes.told(1))
    async with running(world):
        message = await world.write()
        await world.until(message, "stored 3/3")
        world.mailboxes.held["home"].clear()
        while not any(isinstance(command, Have) for _, command in world.mailboxes.calls):
            world.mailboxes.asked = trio.Event()
            await world.mailboxes.asked.wait()
        world.world.database.failures = 3
        await trio.sleep(3 * HOUR)
        assert len(world.mailboxes.held["home"]) == 1
        assert world.copies(message) == "stored 3/3"
        assert world.view(message).reason is None


async def test_a_packet_that_fits_no_mailbox_holds_up_no_other(
    deposit_world: DepositWorld, autojump_clock: MockClock
) -> None:
    world = deposit_world
    await world.tell(world.mailboxes.told(1))
    odd = await world.write()
    run = world.world.database.connection.run
    run(lambda tx: tx.execute("UPDATE deliveries SET packet = X'00' WHERE message_row = ?", (odd,)))
    async with running(world):
        message = await world.write()
        await world.until(message, "stored 3/3")
        assert world.copies(odd) == "queued 0/3"
        assert world.view(odd).reason is None


async def test_a_message_whose_time_is_over_is_not_laid_down(
    deposit_world: DepositWorld, autojump_clock: MockClock
) -> None:
    world = deposit_world
    await world.tell(world.mailboxes.told(1))
    old, short = await world.write(), await world.write()
    now, run = world.world.own.now(), world.world.database.connection.run
    run(lambda tx: tx.execute("UPDATE deliveries SET expires_at = ? WHERE message_row = ?", (now - 1, old)))
    run(lambda tx: tx.execute("UPDATE messages SET expires_at = ? WHERE id = ?", (now + 600, short)))
    async with running(world):
        await world.until(short, "stored 3/3")
    assert [round(put.ttl_seconds, -1) for put in world.mailboxes.puts("home")] == [600]


async def test_a_device_that_tells_its_mailboxes_later_gets_what_waits(
    deposit_world: DepositWorld, autojump_clock: MockClock
) -> None:
    world = deposit_world
    async with running(world):
        message = await world.write()
        await trio.sleep(HOUR)
        assert world.copies(message) == "queued"
        await world.tell(world.mailboxes.told(1))
        await world.until(message, "stored 3/3")


def _delivered(tx: Tx, message: int) -> None:
    for row in deliveries.of_message(tx, message):
        deliveries.finish(tx, row.id, Status.DELIVERED, now=1.0)
