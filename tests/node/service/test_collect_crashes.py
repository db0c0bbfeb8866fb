"""A node that dies at any commit while it fetches mail has lost nothing, shown nothing twice, and acknowledged nothing
that it did not have.

It dies in its own process: at the n-th commit point, and at all after it, the database raises what no guard holds, so
that nothing is durable any more and the node comes down. Before the point (the COMMIT was not made) or after it (it
was, and nobody was told).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from covey_core.wire import mailbox as m
from covey_node import limits
from covey_node.crypto.replica import ReplicaKeys
from covey_node.service.sealing import packet_hash
from covey_node.store.connection import CommitPoint
from covey_node.store.tx import Tx
from tests.node.service.collect_world import World, hand, meet, packets, peer_set, read, until, world
from tests.support.people import say

THREE = ("ann", "bea", "cat")
TEXTS = 2
POINTS_LEAST = 12
POINTS_MOST = 80
SLOW_SECONDS = 0.2
SECONDS = 600


_SLOW_DISK = threading.Event()  # nobody sets it


class Died(BaseException):
    """The process is gone."""


def deadly(point: int) -> Callable[[CommitPoint], None]:
    """A hook that lets nothing become durable from its `point`-th call on."""
    count = 0

    def hook(_: object) -> None:
        nonlocal count
        count += 1
        if count == point:
            _SLOW_DISK.wait(SLOW_SECONDS)  # what would leave too early leaves now
        if count >= point:
            raise Died

    return hook


def shown(tx: Tx) -> int:
    return tx.number("SELECT count(*) FROM messages WHERE kind = 'text' AND outgoing = 0")


async def _die_at(relays: World, point: int, expected: int) -> bool:
    """Run bob's node until it dies at that point; False when it did all that there was to do before."""
    died = False
    try:
        async with relays.node("bob", on_commit=deadly(point)) as bob:
            await until(bob, lambda tx: shown(tx) >= expected and tx.number("SELECT count(*) FROM receipts_due") == 0)
            for name in THREE:
                await relays.acked(name, expected)
    except* Died:
        died = True
    return died


def _acked(relays: World, name: str) -> set[bytes]:
    return {
        mid
        for one in relays.running[name].seen
        if isinstance(one.command, m.Ack) and isinstance(one.answer, m.Done)
        for mid in one.command.mids
    }


def _known(tx: Tx) -> set[bytes]:
    """The hashes of the packets that are durable."""
    return {bytes(digest) for (digest,) in tx.all("SELECT packet_hash FROM received")}


def _texts(tx: Tx) -> list[str]:
    return [text for (text,) in tx.all("SELECT text FROM messages WHERE kind = 'text' AND outgoing = 0 ORDER BY id")]


@pytest.mark.timeout(SECONDS)
async def test_a_node_killed_at_each_commit_while_it_fetches_mail_loses_and_repeats_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAILBOX_ACK_GATHER_SECONDS", 0)
    async with world(tmp_path, *THREE) as relays:
        async with relays.node("alice") as alice, relays.node("bob") as bob:
            await meet(relays, alice, bob)
        async with relays.node("alice", mailboxes=False) as alice:
            for number in range(TEXTS * POINTS_MOST):
                await say(alice, "bob", f"text {number}")
            waiting, to = await read(alice, packets), await read(alice, peer_set)
        keys = [ReplicaKeys.derive(to.secret, one.relay, one.send_id) for one in to.replicas]
        names = [relays.relay_of(one.relay) for one in to.replicas]
        async with hand(relays.known(), to) as alices:
            for point in range(1, POINTS_MOST):
                await alices.put_all(*waiting[TEXTS * (point - 1) : TEXTS * point])
                died = await _die_at(relays, point, TEXTS * point)
                async with relays.database("bob") as database:
                    known, found = await database.read(_known), await database.read(_texts)
                assert len(found) == len(set(found)), f"point {point}: shown twice"
                for packet in waiting[: TEXTS * point]:
                    for name, at in zip(names, keys, strict=True):
                        if at.mid(packet) in _acked(relays, name):
                            assert packet_hash(packet) in known, f"point {point}: acknowledged, and not durable"
                if not died:
                    assert set(found) == {f"text {number}" for number in range(TEXTS * point)}
                    break
            else:
                pytest.fail("it never came to an end")
        assert point >= POINTS_LEAST, "the node died at too few commit points for this to mean anything"
