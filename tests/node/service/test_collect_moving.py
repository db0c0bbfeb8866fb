"""Mailboxes that move: away from a relay that is gone, or that the user left, and no mail is lost on the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from covey_core.peers import peer_id_bytes
from covey_core.wire import mailbox as m
from covey_node import limits
from covey_node.protocol.queue_choice import Behaviour
from covey_node.service.mailbox_desk import MailboxDesk
from covey_node.service.port import NotFound, Refused
from covey_node.store import queue_relays, queues
from covey_node.store.queues import Purpose, QueueState
from covey_node.store.tx import Tx
from tests.node.service import lane_world
from tests.node.service.collect_world import all_confirmed, hand, meet, peer_set, read, standing, until, world
from tests.node.service.test_collecting import _met_and_written
from tests.support.people import texts

THREE = ("ann", "bea", "cat")


def leaving(tx: Tx) -> int:
    row = queues.set_for(tx, Purpose.CONTACT, 1)
    return 0 if row is None else len(queues.of_set(tx, row.id, (QueueState.LEAVING, QueueState.ENDING)))


def leaving_at(tx: Tx, relay: bytes) -> bytes:
    of = queues.set_for(tx, Purpose.CONTACT, 1)
    assert of is not None
    [row] = [one for one in queues.of_set(tx, of.id, (QueueState.LEAVING,)) if one.relay == relay]
    assert row.recv_id is not None
    return row.recv_id


async def test_a_relay_that_was_away_for_a_day_is_replaced_and_its_queue_deleted_when_it_comes_back(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, *THREE) as relays:
        await _met_and_written(relays, "at all three")
        gone = peer_id_bytes(relays.running["ann"].host.peer_id)
        await relays.start("dan")
        network = relays.known()
        await relays.stop("ann")
        away = Behaviour(away_seconds=limits.MAILBOX_GONE_SECONDS, failures=9, failed_at=1.0, reason="no answer")
        async with relays.database("bob") as database:
            await database.run(lambda tx: queue_relays.save(tx, gone, away))
        async with relays.node("bob", network) as bob, relays.node("alice", network) as alice:
            await until(bob, lambda tx: gone not in {row.relay for row in standing(tx)} and all_confirmed(3)(tx))
            told = await read(alice, peer_set)
            assert {relays.relay_of(one.relay) for one in told.replicas} == {"bea", "cat", "dan"}
            assert await read(bob, leaving) == 1, "it may hold mail"
            await relays.start("ann")
            await relays.asked("ann", m.Del, to=m.Done)
            await until(bob, lambda tx: leaving(tx) == 0)
            assert await texts(bob, "alice") == ["at all three"]


async def test_a_relay_that_the_user_left_is_read_until_it_is_empty_and_the_contact_knows(tmp_path: Path) -> None:
    async with world(tmp_path, *THREE) as relays:
        waiting, to = await _met_and_written(relays, "one", "two", laid_down=False)
        await relays.start("dan")
        network = relays.known()
        [ann] = [n for n, one in enumerate(to.replicas) if relays.relay_of(one.relay) == "ann"]
        async with hand(network, to) as alices, relays.node("bob", network) as bob:
            await until(bob, lambda tx: len(standing(tx)) == 3)
            await bob.move_mailboxes("ann", back=False)
            await until(bob, lambda tx: leaving(tx) == 1)
            queue = await read(bob, lambda tx: leaving_at(tx, to.replicas[ann].relay))
            await alices.put(waiting[0], at=ann)  # alice is away and knows of nothing
            await until(bob, lambda tx: tx.number("SELECT count(*) FROM messages WHERE kind = 'text'") == 1)
            assert m.Del not in relays.commands("ann", queue=queue)
            async with relays.node("alice", network) as alice:
                await relays.asked("ann", m.Del, to=m.Done, queue=queue)
                await until(bob, lambda tx: leaving(tx) == 0)
                told = await read(alice, peer_set)
                assert {relays.relay_of(one.relay) for one in told.replicas} == {"bea", "cat", "dan"}
                await until(bob, lambda tx: tx.number("SELECT count(*) FROM messages WHERE kind = 'text'") == 2)
            done = relays.commands("ann", queue=queue)
            assert done.index(m.Ack) < done.index(m.Del)


async def test_with_two_relays_one_can_be_left_and_the_last_one_cannot(tmp_path: Path) -> None:
    async with world(tmp_path, "ann", "bea") as relays, relays.node("alice") as alice, relays.node("bob") as bob:
        await meet(relays, alice, bob, replicas=2)
        await bob.move_mailboxes("ann", back=False)
        await until(bob, all_confirmed(1))
        assert (await bob.mailboxes()).warning is not None
        with pytest.raises(Refused, match="only one"):
            await bob.move_mailboxes("bea", back=False)
        with pytest.raises(NotFound, match="bea"):
            await bob.move_mailboxes("zoe", back=False)
        await bob.move_mailboxes("ann", back=True)
        await until(bob, all_confirmed(2))
        assert (await bob.mailboxes()).warning is None


async def test_what_is_shown_says_where_mail_waits(tmp_path: Path) -> None:
    async with world(tmp_path, *THREE) as relays:
        async with relays.node("alice") as alice, relays.node("bob") as bob:
            await meet(relays, alice, bob)
            for name in THREE:
                await relays.asked(name, m.Sub)
            view = await bob.mailboxes()
        assert view.on
        assert view.warning is None
        assert [(one.operator, one.reason) for one in view.relays] == [(name, None) for name in THREE]
        [mine] = [one for one in view.sets if one.purpose == "contact"]
        assert (mine.contact, mine.devices, mine.confirmed) == ("alice", 1, 1)
        assert {one.operator for one in mine.queues} == set(THREE)
        assert {(one.state, one.quota_messages) for one in mine.queues} == {("standing", 1024)}


async def test_a_node_without_mailboxes_says_so(tmp_path: Path) -> None:
    lanes = lane_world.World(tmp_path)
    desk = MailboxDesk(lanes.ledger, None)
    assert not (await desk.view()).on
    with pytest.raises(Refused, match="switched off"):
        await desk.move("ann", back=False)
    lanes.close()
