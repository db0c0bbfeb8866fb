"""Real nodes and real relays: who writes to somebody away sees at how many mailboxes it lies, and why at no more."""

from __future__ import annotations

from pathlib import Path

import pytest

from covey_core.network import Network
from covey_core.wire import mailbox as m
from covey_node import limits
from covey_node.protocol.status import Status
from covey_node.service.node import Node
from covey_node.service.port import MessageView
from covey_node.service.views import ONE_RELAY
from covey_node.store.tx import Tx
from tests.node.service.collect_world import World, meet, world
from tests.node.service.collect_world import until as holds
from tests.support.people import reaches, say, texts, until

THREE = ("ann", "ben", "cat")


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for minutes in life waits for seconds here."""
    monkeypatch.setattr(limits, "DEPOSIT_CHECK_SECONDS", 2)
    monkeypatch.setattr(limits, "BACKOFF_MAX_SECONDS", 2)
    monkeypatch.setattr(limits, "DEPOSIT_REFUSED_SECONDS_MIN", 1)


async def acquainted(relays: World, *, replicas: int = 3) -> Network:
    """Alice and bob have met, know each other's mailboxes, and are both away again."""
    network = relays.known()
    async with relays.node("alice", network) as alice, relays.node("bob", network) as bob:
        await meet(relays, alice, bob, replicas=replicas)
    return network


async def shows(node: Node, message: str, copies: str) -> MessageView:
    """Wait until a message reads so."""

    async def so() -> bool:
        view = await node.message(message)
        return view.copies is not None and f"{view.status} {view.copies.stored}/{view.copies.of}" == copies

    await until(node, so)
    return await node.message(message)


async def test_who_writes_to_somebody_who_is_away_sees_it_stored_and_the_other_finds_it(tmp_path: Path) -> None:
    async with world(tmp_path, *THREE) as relays:
        network = await acquainted(relays)
        async with relays.node("alice", network) as alice:
            said = [await say(alice, "bob", f"text {number}") for number in range(3)]
            for message in said:
                assert (await shows(alice, message, "stored 3/3")).reason is None
        async with relays.node("bob", network) as bob:
            await until(bob, lambda: _has(bob, "alice", 3))
            await holds(bob, _nothing_to_say)  # its receipts were gathered and laid into mailboxes
        async with relays.node("alice", network) as alice:
            for message in said:
                view = await reaches(alice, message, Status.DELIVERED)
                assert (view.copies, view.path) == (None, "mailbox")
        assert relays.running["ann"].peers(m.Put).isdisjoint(relays.running["ann"].peers(m.Sub))


async def test_one_relay_that_was_never_there_is_named_and_costs_one_copy(tmp_path: Path) -> None:
    async with world(tmp_path, *THREE) as relays:
        network = await acquainted(relays)
        await relays.stop("ben")
        async with relays.node("alice", network) as alice:
            message = await say(alice, "bob", "are you there?")
            await shows(alice, message, "stored 2/3")

            async def says_why() -> bool:
                return (await alice.message(message)).reason is not None

            await until(alice, says_why)
            assert str((await alice.message(message)).reason).startswith("ben: ")
            await relays.start("ben")
            assert (await shows(alice, message, "stored 3/3")).reason is None


async def test_with_one_relay_alone_it_is_stored_there_and_the_user_is_warned(tmp_path: Path) -> None:
    async with world(tmp_path, "ann") as relays:
        network = await acquainted(relays, replicas=1)
        async with relays.node("alice", network) as alice:
            view = await shows(alice, await say(alice, "bob", "hello"), "stored 1/1")
            assert view.reason == ONE_RELAY


async def test_a_wiped_relay_is_found_out_and_the_copies_come_back_with_a_new_mailbox(tmp_path: Path) -> None:
    async with world(tmp_path, *THREE) as relays:
        network = await acquainted(relays)
        async with relays.node("alice", network) as alice:
            message = await say(alice, "bob", "still there?")
            await shows(alice, message, "stored 3/3")
            await relays.stop("cat")
            relays.wipe("cat")
            await relays.start("cat")
            view = await shows(alice, message, "stored 2/3")
            assert view.reason == "cat: the mailbox is not there any more, or is closed to us"
            async with relays.node("bob", network) as bob:
                await until(bob, lambda: _has(bob, "alice", 1))
                await reaches(alice, message, Status.DELIVERED)
                assert await texts(bob, "alice") == ["still there?"]


async def test_a_relay_that_is_set_back_is_given_again_what_it_lost(tmp_path: Path) -> None:
    async with world(tmp_path, *THREE) as relays:
        network = await acquainted(relays)
        await relays.stop("cat")
        older = _files(tmp_path, "cat.db*")
        await relays.start("cat")
        async with relays.node("alice", network) as alice:
            message = await say(alice, "bob", "once more")
            await shows(alice, message, "stored 3/3")
            await relays.stop("cat")
            relays.wipe("cat")
            for path, data in older.items():
                path.write_bytes(data)
            await relays.start("cat")
            await shows(alice, message, "stored 2/3")
            await shows(alice, message, "stored 3/3")
            await relays.stop("ann", "ben")
        async with relays.node("bob", network) as bob:
            await until(bob, lambda: _has(bob, "alice", 1))


def _files(folder: Path, pattern: str) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.glob(pattern)}


def _nothing_to_say(tx: Tx) -> bool:
    due = tx.number("SELECT count(*) FROM receipts_due") + tx.number("SELECT count(*) FROM deliveries")
    return due == 0 and tx.number("SELECT count(*) FROM messages WHERE kind = 'text'") == 3


async def _has(node: Node, contact: str, count: int) -> bool:
    return len(await texts(node, contact)) == count
