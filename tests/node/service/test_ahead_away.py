"""An owner who is away is found: real nodes, relays and DHT over loopback, under a clock of the test's."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import trio
from prometheus_client import CollectorRegistry

from covey_core.host import Host, HostConfig, open_host
from covey_core.host.dht import Dht, open_dht
from covey_core.identity import Identity
from covey_core.network import Network, RelayEntry
from covey_core.records import ContactRecordValidator, decode_record, record_key
from covey_node import crypto, limits
from covey_node.protocol.record import InnerRecord
from covey_node.service.ahead import Ahead as LeavesAhead
from covey_node.service.node import Node
from covey_node.service.own import record_keys
from covey_node.store import account, ahead, contacts
from covey_node.store.contacts import ContactRow
from covey_relay.metrics import RelayMetrics
from covey_relay.net.ahead import Ahead, serve_ahead
from covey_relay.service import open_relay_service
from tests.relay.ahead.conftest import Clock
from tests.support.people import acquaint, empty_network, running_node, until

TODAY = 20_780
VALIDATORS = {"c": ContactRecordValidator()}


@pytest.fixture(autouse=True)
def _by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes leave nothing by themselves: on a slow machine bob's records would come in between."""
    monkeypatch.setattr(limits, "AHEAD_START_SECONDS", 3_600)


@dataclass
class Relay:
    """A relay with a DHT where records signed ahead are taken."""

    host: Host
    dht: Dht
    ahead: Ahead


@asynccontextmanager
async def relay_of(network: Network, path: Path, clock: Clock) -> AsyncIterator[tuple[Network, Relay]]:
    identity = Identity.generate()
    metrics = RelayMetrics(CollectorRegistry())
    async with (
        open_host(HostConfig(identity, network, ("/ip4/127.0.0.1/tcp/0",))) as host,
        open_relay_service(host, identity=identity),
        open_dht(host, server=True, validators=VALIDATORS, wall_clock=clock) as dht,
        serve_ahead(host, dht, path, metrics=metrics, wall_clock=clock) as ahead,
    ):
        for relay in network.relays:
            await dht.bootstrap(relay.addrs)
        yield replace(network, relays=(*network.relays, RelayEntry(path.stem, host.addrs))), Relay(host, dht, ahead)


def leaving(node: Node) -> LeavesAhead:
    """What leaves records for this node, and hurries."""
    return LeavesAhead(node._ledger, node._parts.own, node._parts.host.network, rng=_Hurried(7))


class _Hurried(random.Random):
    def uniform(self, a: float, b: float) -> float:
        return 0.0 if a == 0 else super().uniform(a, b)


async def published(node: Node) -> None:
    async def done() -> bool:
        return (await node.status()).record_holders > 0

    await until(node, done)


async def contact(node: Node) -> ContactRow:
    (found,) = await node._ledger.read(contacts.all_in)
    return found


async def look_up(node: Node) -> bool:
    records = node._parts.records
    records._looked_up.clear()
    return await records.look_up((await contact(node)).id)


async def in_dht(node: Node, dht: Dht, day: int) -> tuple[InnerRecord, bytes]:
    """The best record of a node under a day's key, opened, and its value."""
    row = await node._ledger.read(account.load)
    assert row is not None
    return await _opened(record_keys(row).share, row.account_key, dht, day)


async def _opened(share: crypto.RecordShare, account_key: bytes, dht: Dht, day: int) -> tuple[InnerRecord, bytes]:
    value = (await dht.get(record_key(share.blinded_key(day))))[0]
    return InnerRecord.decode(share.open(day, decode_record(value).ciphertext), account_key=account_key), value


async def test_a_contact_finds_who_has_been_away_for_twenty_days_and_then_is_back(tmp_path: Path) -> None:
    clock = Clock()
    with trio.fail_after(60):
        async with (
            relay_of(empty_network(), tmp_path / "one.db", clock) as (first, one),
            relay_of(first, tmp_path / "two.db", clock) as (network, two),
            running_node(tmp_path / "bob", network, now=clock) as bob,
        ):
            async with running_node(tmp_path / "alice", network, listens=False, now=clock) as alice:
                await acquaint(alice, bob)
                await published(alice)
                assert await look_up(bob)
                before = await contact(bob)
                assert await leaving(alice).look() == 31
                row = await alice._ledger.read(account.load)
                assert row is not None
                share, key = record_keys(row).share, row.account_key

            clock.goes_to(TODAY + 20)
            assert not await look_up(bob)  # all that alice published herself is gone
            assert await one.ahead.publish_due() + await two.ahead.publish_due() >= 1
            assert await look_up(bob)
            away = await contact(bob)
            assert away.record_sequence_seen > before.record_sequence_seen
            assert away.addrs
            assert all("/p2p-circuit/" in addr for addr in away.addrs)
            assert not await look_up(bob)

            clock.now += 3_600
            async with running_node(tmp_path / "alice", network, listens=False, now=clock) as alice:
                await published(alice)
                assert await look_up(bob)
                back = await contact(bob)
                assert back.record_sequence_seen > away.record_sequence_seen
                clock.now += limits.RECORD_PUBLISH_SECONDS + 3_600
                await one.ahead.publish_due()
                await two.ahead.publish_due()
                inner, value = await in_dht(alice, two.dht, TODAY + 20)
                assert inner.made == back.record_sequence_seen == decode_record(value).sequence
                assert not await look_up(bob)

            clock.goes_to(TODAY + 21)  # the relays' is older than what alice published yesterday
            await one.ahead.publish_due()
            await two.ahead.publish_due()
            inner, _ = await _opened(share, key, one.dht, TODAY + 21)
            assert inner.made < back.record_sequence_seen
            assert not await look_up(bob)
            assert await contact(bob) == back


async def test_after_a_block_nothing_is_published_under_the_old_keys(tmp_path: Path) -> None:
    clock = Clock()
    with trio.fail_after(60):
        async with (
            relay_of(empty_network(), tmp_path / "one.db", clock) as (network, one),
            running_node(tmp_path / "bob", network, now=clock) as bob,
            running_node(tmp_path / "alice", network, listens=False, now=clock) as alice,
        ):
            await acquaint(alice, bob)
            await published(alice)
            leaves = leaving(alice)
            assert await leaves.look() == 31
            old = await alice._ledger.read(account.load)
            assert old is not None
            await look_up(bob)  # what alice published herself before, he has
            await alice.block("bob")
            owed = await alice._ledger.read(ahead.rows)
            assert len(owed) == 31
            assert all(row.withdrawal is not None for row in owed)
            assert await leaves.look() == 31
            assert not any(row.withdrawal for row in await alice._ledger.read(ahead.rows))
            clock.goes_to(TODAY + 1)
            assert await one.ahead.publish_due() == 1
            share = record_keys(old).share
            assert await one.dht.get(record_key(share.blinded_key(TODAY + 1))) == ()
            values = one.ahead._table._raw.execute(
                "SELECT value FROM records WHERE day_key IN (" + ",".join("?" * len(owed)) + ")",
                [row.day_key for row in owed],
            ).fetchall()
            assert values == [(None,)] * 30  # the first day is over
            assert not await look_up(bob)
            inner, _ = await in_dht(alice, one.dht, TODAY + 1)
            assert inner.account_key == old.account_key


async def test_each_record_is_sealed_numbered_and_brought_for_itself(tmp_path: Path) -> None:
    clock = Clock()
    with trio.fail_after(60):
        async with (
            relay_of(empty_network(), tmp_path / "one.db", clock) as (first, one),
            relay_of(first, tmp_path / "two.db", clock) as (network, two),
            running_node(tmp_path / "alice", network, listens=False, now=clock) as alice,
        ):
            await published(alice)
            await leaving(alice).look()
            for relay in (one, two):  # each came from somebody of its own, and never from the device
                assert len(relay.ahead._asked._peers) == 31
                assert alice._parts.host.peer_id not in relay.ahead._asked._peers._levels
            values = [
                decode_record(row[0])
                for relay in (one, two)
                for row in relay.ahead._table._raw.execute("SELECT value FROM records").fetchall()
            ]
            assert len(values) == 62
            assert len({record.sequence for record in values}) == 62
            assert len({record.ciphertext for record in values}) == 62
            assert len({len(record.ciphertext) for record in values}) == 1
            assert {len(record.ciphertext) % limits.RECORD_STEP_BYTES for record in values} == {40}
