"""Mail for somebody who is away waits at three relays, comes once, is acknowledged and leaves nothing behind."""

from __future__ import annotations

import os
from pathlib import Path

from covey_core.wire import mailbox as m
from covey_node.store.peer_mailboxes import PeerSet
from covey_node.store.tx import Tx
from tests.node.service.collect_world import (
    World,
    all_confirmed,
    hand,
    meet,
    packets,
    peer_set,
    read,
    standing,
    until,
    world,
)
from tests.support.people import say, texts

THREE = ("ann", "bea", "cat")


def _count(tx: Tx, table: str) -> int:
    return tx.number(f"SELECT count(*) FROM {table}")


async def test_contacts_tell_each_other_three_mailboxes_at_different_relays(tmp_path: Path) -> None:
    async with world(tmp_path, *THREE) as relays, relays.node("alice") as alice, relays.node("bob") as bob:
        await meet(relays, alice, bob)
        ours, theirs = await read(bob, standing), await read(alice, peer_set)
        assert {relays.relay_of(row.relay) for row in ours} == set(THREE)
        assert {(one.relay, one.send_id) for one in theirs.replicas} == {(row.relay, row.send_id) for row in ours}
        assert len({row.recv_seed for row in ours}) == 3


async def test_mail_comes_when_bob_does_and_a_receipt_tells_alice(tmp_path: Path) -> None:
    async with world(tmp_path, *THREE) as relays:
        await _met_and_written(relays, "one", "two", "three")
        async with relays.node("bob") as bob:
            await until(bob, lambda tx: _count(tx, "messages WHERE kind = 'text'") == 3)
            history = await bob.history("alice", limit=9, before=None)
            shown = [(view.text, view.path) for view in history if view.kind == "text"]
            assert shown == [("one", "mailbox"), ("two", "mailbox"), ("three", "mailbox")]
            async with relays.node("alice") as alice:
                await until(alice, lambda tx: _count(tx, "messages WHERE status = 'delivered'") == 3)
            for name in THREE:
                await relays.acked(name, 3)
            assert await texts(bob, "alice") == ["one", "two", "three"]


async def test_what_lies_at_one_relay_only_comes_too(tmp_path: Path) -> None:
    async with world(tmp_path, *THREE) as relays:
        waiting, to = await _met_and_written(relays, "one", "two", "three", laid_down=False)
        async with hand(relays.known(), to) as alices:
            for at, packet in enumerate(waiting):
                await alices.put(packet, at=at)
        async with relays.node("bob") as bob:
            await until(bob, lambda tx: _count(tx, "messages WHERE kind = 'text'") == 3)
            assert set(await texts(bob, "alice")) == {"one", "two", "three"}


async def test_what_comes_while_bob_listens_is_pushed(tmp_path: Path) -> None:
    async with world(tmp_path, *THREE) as relays:
        waiting, to = await _met_and_written(relays, "one", "two", laid_down=False)
        async with relays.node("bob") as bob, hand(relays.known(), to) as alices:
            for name in THREE:
                await relays.asked(name, m.Sub)
            await alices.put_all(waiting[0])
            await until(bob, lambda tx: _count(tx, "messages WHERE kind = 'text'") == 1)
            await alices.put_all(waiting[1])
            await until(bob, lambda tx: _count(tx, "messages WHERE kind = 'text'") == 2)


async def test_one_relay_that_is_dead_changes_nothing(tmp_path: Path) -> None:
    async with world(tmp_path, *THREE) as relays:
        network = relays.known()
        await _met_and_written(relays, "one", "two")
        await relays.stop("ann")
        async with relays.node("bob", network) as bob:
            await until(bob, lambda tx: _count(tx, "messages WHERE kind = 'text'") == 2)
            await relays.start("ann")
            await relays.acked("ann", 2)
            assert await texts(bob, "alice") == ["one", "two"]


async def test_a_relay_that_lost_its_disk_gets_a_new_queue_and_the_contact_is_told(tmp_path: Path) -> None:
    async with world(tmp_path, *THREE) as relays, relays.node("alice") as alice:
        network = relays.known()
        async with relays.node("bob") as bob:
            await meet(relays, alice, bob)
        before = await read(alice, peer_set)
        await relays.stop("ann")
        relays.wipe("ann")
        await relays.start("ann")
        async with relays.node("bob", network) as bob:
            await until(bob, lambda tx: all_confirmed(3)(tx) and _number(tx) > before.number)
            after = await read(alice, peer_set)
        assert after.number > before.number
        assert after.secret == before.secret
        changed = {one.relay for one in after.replicas if one not in before.replicas}
        assert {relays.relay_of(relay) for relay in changed} == {"ann"}


async def test_a_relay_that_brings_old_messages_again_is_answered_with_an_acknowledgement(tmp_path: Path) -> None:
    async with world(tmp_path, *THREE) as relays:
        await _met_and_written(relays, "one", "two")
        stolen = (tmp_path / "ann.db").read_bytes(), (tmp_path / "ann.db-wal").read_bytes()
        async with relays.node("bob") as bob:
            await until(bob, lambda tx: _count(tx, "messages WHERE kind = 'text'") == 2)
            await relays.acked("ann", 2)
            await relays.stop("ann")
            relays.wipe("ann")
            for path, data in zip(("ann.db", "ann.db-wal"), stolen, strict=True):
                (tmp_path / path).write_bytes(data)
            await relays.start("ann")
            await relays.acked("ann", 2)
            assert await texts(bob, "alice") == ["one", "two"]


async def test_garbage_is_acknowledged_and_what_follows_it_comes(tmp_path: Path) -> None:
    async with world(tmp_path, *THREE) as relays:
        waiting, to = await _met_and_written(relays, "one", laid_down=False)
        async with hand(relays.known(), to) as alices:
            for number in range(3):
                await alices.raw(0, bytes([number]) * 16, os.urandom(4112))
            await alices.put(os.urandom(4096), at=0)
            await alices.put(waiting[0], at=0)
        name = relays.relay_of(to.replicas[0].relay)
        async with relays.node("bob") as bob:
            await relays.acked(name, 5)
            assert await texts(bob, "alice") == ["one"]


async def test_a_blocked_contacts_queues_are_deleted_at_every_relay_also_at_one_that_comes_back(tmp_path: Path) -> None:
    async with world(tmp_path, *THREE) as relays:
        network = relays.known()
        await _met_and_written(relays, "one")
        await relays.stop("ann")
        async with relays.node("bob", network) as bob:
            await bob.block("alice")
            for name in ("bea", "cat"):
                await relays.asked(name, m.Del, to=m.Done)
        async with relays.node("bob", network) as bob:
            await relays.start("ann")
            await relays.asked("ann", m.Del, to=m.Done)
            await until(bob, lambda tx: _of_contacts(tx) == 0)
            assert await read(bob, lambda tx: tx.all("SELECT secret FROM queue_sets WHERE purpose = 'contact'")) == [
                (None,)
            ]


async def test_a_refused_requesters_queues_are_deleted(tmp_path: Path) -> None:
    async with world(tmp_path, *THREE) as relays, relays.node("alice") as alice, relays.node("bob") as bob:
        invite = await alice.invite(label="", valid_seconds=3600, one_use=False)
        await bob.add(invite.link or "", alias="alice", intro="")
        await until(bob, lambda tx: len(standing(tx)) == 3)
        await until(alice, lambda tx: _count(tx, "contacts WHERE state = 'incoming'") == 1)
        assert await read(alice, _of_contacts) == 0, "nothing is made for who was not accepted"
        await alice.refuse("bob")
        await until(bob, lambda tx: _of_contacts(tx) == 0)


def _of_contacts(tx: Tx) -> int:
    return _count(tx, "queues WHERE set_id IN (SELECT id FROM queue_sets WHERE purpose = 'contact')")


def _number(tx: Tx) -> int:
    return tx.number("SELECT number FROM queue_sets WHERE purpose = 'contact'")


async def _met_and_written(relays: World, *what: str, laid_down: bool = True) -> tuple[list[bytes], PeerSet]:
    """Have alice and bob meet, bob leave, alice write, lay it into bob's mailboxes and leave too."""
    async with relays.node("alice") as alice:
        async with relays.node("bob") as bob:
            await meet(relays, alice, bob)
        for text in what:
            await say(alice, "bob", text)
        waiting, to = await read(alice, packets), await read(alice, peer_set)
    if laid_down:
        async with hand(relays.known(), to) as alices:
            await alices.put_all(*waiting)
    return waiting, to
