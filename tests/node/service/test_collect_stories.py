"""Two people who are never there together, over relays that are dead, silent or wrong about the time."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from covey_core.network import RelayEntry
from covey_node.protocol.paths import PathKind
from covey_node.protocol.status import Status
from covey_node.store.tx import Tx
from tests.node.service.collect_world import World, meet, peer_set, read, standing, until, world
from tests.support.mailbox_relays import Rogue, rogue_relay
from tests.support.people import acquaint, say, texts

THREE = ("ann", "bea", "cat")
HOUR = 3600.0
Clock = Callable[[], float]


def stored(count: int) -> Callable[[Tx], bool]:
    """Whether so many copies lie at relays."""
    return lambda tx: tx.number("SELECT count(*) FROM deposits WHERE stored_at IS NOT NULL") >= count


def received(count: int) -> Callable[[Tx], bool]:
    """Whether so many texts came."""
    return lambda tx: tx.number("SELECT count(*) FROM messages WHERE outgoing = 0 AND kind = 'text'") >= count


def nothing_waits(tx: Tx) -> bool:
    """Whether nothing is on its way any more, receipts included."""
    return tx.number("SELECT count(*) FROM deliveries") == 0 and tx.number("SELECT count(*) FROM receipts_due") == 0


async def _never_together(relays: World, *, alices_clock: Clock = time.time, bobs_clock: Clock = time.time) -> None:
    """Alice writes and goes, bob comes and goes, alice comes: she is told that he has it."""
    network = relays.known(*THREE)
    async with relays.node("alice", network) as alice, relays.node("bob", network) as bob:
        await meet(relays, alice, bob)
    async with relays.node("alice", network, now=alices_clock) as alice:
        for text in ("one", "two"):
            await say(alice, "bob", text)
        await until(alice, stored(6))
        history = await alice.history("bob", limit=9, before=None)
        assert {view.status for view in history if view.kind == "text"} == {Status.STORED}
    async with relays.node("bob", network, now=bobs_clock) as bob:
        await until(bob, received(2))
        await until(bob, nothing_waits)  # his receipt lies at a quorum of alice's mailboxes
        assert await texts(bob, "alice") == ["one", "two"]
    async with relays.node("alice", network, now=alices_clock) as alice:
        await until(alice, lambda tx: tx.number("SELECT count(*) FROM messages WHERE status = 'delivered'") == 2)
        history = await alice.history("bob", limit=9, before=None)
        assert {(view.status, view.path) for view in history if view.kind == "text"} == {
            (Status.DELIVERED, PathKind.MAILBOX)
        }
        assert await read(alice, lambda tx: tx.number("SELECT count(*) FROM deliveries")) == 0


async def test_two_people_who_are_never_there_together_talk(tmp_path: Path) -> None:
    async with world(tmp_path, *THREE) as relays:
        await _never_together(relays)


@pytest.mark.parametrize("off", [-HOUR, HOUR])
async def test_clocks_that_are_an_hour_off_change_nothing(tmp_path: Path, off: float) -> None:
    """Alice's goes wrong by an hour, bob's by an hour the other way; those of the relays are right."""
    async with world(tmp_path, *THREE) as relays:
        await _never_together(relays, alices_clock=lambda: time.time() + off, bobs_clock=lambda: time.time() - off)


async def test_with_one_of_three_relays_dead_from_the_start_the_other_two_are_told(tmp_path: Path) -> None:
    async with world(tmp_path, *THREE) as relays:
        network = relays.known()
        await relays.stop("ann")
        async with relays.node("alice", network) as alice:
            async with relays.node("bob", network) as bob:
                await acquaint(alice, bob)
                await until(alice, lambda tx: tx.number("SELECT count(*) FROM peer_replicas") == 2)
            await say(alice, "bob", "hello")
            await until(alice, stored(2))
        async with relays.node("bob", network) as bob:
            await until(bob, received(1))
            await relays.start("ann")
            await until(bob, lambda tx: len(standing(tx)) == 3)


async def _silent(rogue: Rogue) -> None:
    """A relay that was paused: it takes the stream and says nothing more after its first words."""
    await rogue.hello()
    await trio.sleep_forever()


async def _mute(_rogue: Rogue) -> None:
    await trio.sleep_forever()


@pytest.mark.parametrize("paused", [_silent, _mute])
async def test_a_paused_relay_keeps_nobody_waiting(tmp_path: Path, paused: Callable[[Rogue], Awaitable[None]]) -> None:
    async with world(tmp_path, "ann", "bea") as relays, rogue_relay(paused, network=relays.network) as (_, _, host):
        network = relays.known()
        network = replace(network, relays=(*network.relays, RelayEntry("mallory", host.addrs)))
        async with relays.node("alice", network) as alice:
            async with relays.node("bob", network) as bob:
                await acquaint(alice, bob)
                await until(alice, lambda tx: tx.number("SELECT count(*) FROM peer_replicas") == 2)
            await say(alice, "bob", "hello")
            await until(alice, stored(2))
        async with relays.node("bob", network) as bob:
            await until(bob, received(1))


async def test_a_relay_that_dies_while_it_is_read_brings_the_rest_when_it_is_back(tmp_path: Path) -> None:
    async with world(tmp_path, "ann") as relays:
        network = relays.known()
        async with relays.node("alice", network) as alice:
            async with relays.node("bob", network) as bob:
                await meet(relays, alice, bob, replicas=1)
            for number in range(40):
                await say(alice, "bob", f"text {number}")
            await until(alice, stored(40))
        async with relays.node("bob", network) as bob:
            await until(bob, received(1))
            await relays.stop("ann")
            await relays.start("ann")
            await until(bob, received(40))
            shown = await texts(bob, "alice")
            assert len(shown) == 40
            assert set(shown) == {f"text {number}" for number in range(40)}
            await relays.acked("ann", 1)


async def test_a_new_set_is_told_to_a_contact_that_was_away_when_it_changed(tmp_path: Path) -> None:
    async with world(tmp_path, "ann", "bea") as relays:
        async with relays.node("alice") as alice, relays.node("bob") as bob:
            await meet(relays, alice, bob, replicas=2)
        await relays.start("cat")
        network = relays.known()
        async with relays.node("bob", network) as bob:
            await until(bob, lambda tx: len(standing(tx)) == 3)
            await until(bob, stored(2))  # the content that tells it lies at alice's mailboxes
        async with relays.node("alice", network) as alice:
            await until(alice, lambda tx: len(peer_set(tx).replicas) == 3)
