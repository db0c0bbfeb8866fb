"""A full disk, a relay that goes, a record that ages: clear words, nothing lost, and on it goes."""

from dataclasses import replace
from pathlib import Path

import pytest
import trio

from covey_core.identity import Identity
from covey_core.records import decode_record
from covey_node.protocol.status import Status
from covey_node.service.node import Node
from covey_node.store.errors import StoreFull
from covey_node.store.tx import Tx
from tests.support.people import acquaint, empty_network, reaches, running_node, running_relay, say, texts, until


async def test_a_full_disk_refuses_with_words_loses_nothing_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    network = empty_network()
    async with running_node(tmp_path / "alice", network) as alice, running_node(tmp_path / "bob", network) as bob:
        await acquaint(alice, bob)
        await reaches(alice, await say(alice, "bob", "before"), Status.DELIVERED)
        await _fill(bob)
        with pytest.raises(StoreFull, match="full"):
            await _write_until_full(bob)
        kept = [view.id for view in await bob.history("alice", limit=500, before=None) if view.outgoing]
        waiting = await say(alice, "bob", "y" * 40_000)
        await until(alice, lambda: _is_sent(alice, waiting))
        await _make_room(bob)
        await reaches(alice, waiting, Status.DELIVERED)
        for message in kept:
            await reaches(bob, message, Status.DELIVERED)
        await reaches(bob, await say(bob, "alice", "after"), Status.DELIVERED)
        assert "y" * 40_000 in await texts(bob, "alice")
        assert len(await texts(alice, "bob")) == len(kept) + 3


async def test_each_publication_of_a_record_raises_its_sequence(tmp_path: Path) -> None:
    async with running_relay() as (network, _, _), running_node(tmp_path / "alice", network) as alice:
        await until(alice, lambda: _published(alice))
        records = alice._parts.records
        first = await alice._ledger.change(lambda tx, _: records._make(tx))
        second = await alice._ledger.change(lambda tx, _: records._make(tx))
        assert first[0] == second[0]
        assert decode_record(second[1]).sequence > decode_record(first[1]).sequence
        assert records._dht is not None
        assert await records._dht.put(*second) == 1
        assert await records._dht.put(*first) == 0 or (await records._dht.get(first[0]))[0] == second[1]


async def test_a_relay_that_went_is_asked_again_when_it_is_back(tmp_path: Path) -> None:
    identity = Identity.generate()
    async with running_relay(identity=identity) as (network, _, host):
        port = int(host.addrs[0].split("/")[4])
        held = network
    async with running_node(tmp_path / "alice", held, listens=False) as alice:
        with trio.fail_after(30):
            while (relay := (await alice.status()).relays[0]).reason is None:
                await alice._parts.relays.wait_change()
        assert relay.reserved_until is None
        assert not relay.connected
        bare = replace(held, relays=())
        async with running_relay(bare, identity=identity, port=port) as (_, service, _):
            with trio.fail_after(30):
                while (relay := (await alice.status()).relays[0]).reserved_until is None:
                    await alice._parts.relays.wait_change()
            assert relay.connected
            assert service.reservations == 1
        with trio.fail_after(30):
            while (await alice.status()).relays[0].reserved_until is not None:
                await alice._parts.relays.wait_change()


async def _write_until_full(node: Node) -> None:
    for number in range(200):
        await say(node, "alice", f"{number} " + "x" * 40_000)


async def _fill(node: Node) -> None:
    """Allow the database no more pages than it has, and a few."""

    def limit(tx: Tx) -> None:
        pages = tx.number("PRAGMA page_count")
        tx.all(f"PRAGMA max_page_count = {pages + 60}")

    await node._ledger.read(limit)


async def _make_room(node: Node) -> None:
    await node._ledger.read(lambda tx: tx.all("PRAGMA max_page_count = 1000000"))


async def _is_sent(node: Node, message: str) -> bool:
    return (await node.message(message)).status is not Status.QUEUED


async def _published(node: Node) -> bool:
    return (await node.status()).record_holders > 0
