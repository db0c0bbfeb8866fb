"""Slots at relays: how many, where, and what happens when one ends, refuses, dies or falls silent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
import trio
from trio.testing import MockClock

from covey_core.errors import Unreachable
from covey_core.wire.circuit import Reservation
from covey_node import limits
from covey_node.net.relays import RelayClient
from tests.node.net.relay_world import FakeRelay, RelayHost, wall


def _client(host: RelayHost, changes: list[float] | None = None) -> RelayClient:
    noted: list[float] = [] if changes is None else changes
    entries = tuple(relay.entry for relay in host.relays.values())
    return RelayClient(host, entries, lambda: noted.append(trio.current_time()), clock=wall)  # type: ignore[arg-type]


@asynccontextmanager
async def _running(*relays: FakeRelay) -> AsyncIterator[tuple[RelayClient, RelayHost, list[float]]]:
    """A client that has run for a second."""
    host, changes = RelayHost(*relays), list[float]()
    client = _client(host, changes)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.run)
        await trio.sleep(1)
        yield client, host, changes
        nursery.cancel_scope.cancel()


def _operators(client: RelayClient) -> set[str]:
    return {relay.operator for relay in client.held()}


async def test_two_slots_are_held_at_relays_of_different_people(autojump_clock: MockClock) -> None:
    relays = [FakeRelay(number, operator) for number, operator in enumerate(["ann", "ann", "bea", "bea"], 1)]
    async with _running(*relays) as (client, _, changes):
        assert _operators(client) == {"ann", "bea"}
        assert len(client.held()) == 2
        assert len(changes) >= 2
        assert sum(len(relay.asked_at) for relay in relays) == 2


async def test_a_slot_is_renewed_before_it_ends_and_never_lost_meanwhile(autojump_clock: MockClock) -> None:
    relay = FakeRelay(1, "ann")
    async with _running(relay) as (client, _, _):
        for _ in range(300):
            await trio.sleep(60)
            assert client.held()
        gaps = [later - earlier for earlier, later in pairwise(relay.asked_at)]
        assert gaps
        assert all(0.7 * 3600 <= gap <= 0.8 * 3600 for gap in gaps)


async def test_circuit_addresses_are_those_of_held_slots_tcp_first_and_changes_are_told(
    autojump_clock: MockClock,
) -> None:
    ann, bea = FakeRelay(1, "ann"), FakeRelay(2, "bea")
    async with _running(ann, bea) as (client, host, changes):
        found = client.circuit_addrs()
        assert len(found) == 4
        assert "/tcp/" in found[0]
        assert all(addr.endswith(f"/p2p-circuit/p2p/{host.peer_id}") for addr in found)
        before = len(changes)
        await host.lose(ann)
        await trio.sleep(0.5)
        assert len(changes) > before
        assert all(str(bea.peer) in addr for addr in client.circuit_addrs())


async def test_a_relay_that_dies_is_replaced_at_once_and_taken_back_when_it_adds_variety(
    autojump_clock: MockClock,
) -> None:
    ann, also_ann, bea = FakeRelay(1, "ann"), FakeRelay(2, "ann"), FakeRelay(3, "bea")
    async with _running(ann, also_ann, bea) as (client, host, _):
        await host.lose(bea)
        await trio.sleep(1)
        assert _operators(client) == {"ann"}
        assert len(client.held()) == 2
        bea.up = True
        await trio.sleep(limits.RELAY_RETRY_SECONDS_MAX + 5)
        assert _operators(client) == {"ann", "bea"}
        for relay in (ann, also_ann):
            relay.asked_at.clear()
        await trio.sleep(2 * 3600)
        assert sorted(bool(relay.asked_at) for relay in (ann, also_ann)) == [False, True]  # one of the two is let go


async def test_a_relay_that_refuses_to_renew_is_left_for_another_before_the_slot_ends(
    autojump_clock: MockClock,
) -> None:
    ann, bea, cyd = (FakeRelay(number, name) for number, name in enumerate(["ann", "bea", "cyd"], 1))
    async with _running(ann, bea, cyd) as (client, _, _):
        draining = next(relay for relay in (ann, bea, cyd) if relay.asked_at)
        draining.grants = False
        await trio.sleep(3600 * limits.RESERVATION_REFRESH_SHARE + 5)
        others = {relay.entry.operator for relay in (ann, bea, cyd) if relay is not draining}
        assert others <= _operators(client)


async def test_a_silent_relay_is_noticed_within_twenty_five_seconds(autojump_clock: MockClock) -> None:
    ann, bea, cyd = (FakeRelay(number, name) for number, name in enumerate(["ann", "bea", "cyd"], 1))
    async with _running(ann, bea, cyd) as (client, host, _):
        paused = next(relay for relay in (ann, bea, cyd) if relay.asked_at)
        paused.silent = True
        await trio.sleep(25)
        assert not host.connections(paused.peer)
        assert paused.entry.operator not in _operators(client)
        assert len(client.held()) == 2


async def test_reconnecting_waits_longer_each_time_with_jitter(autojump_clock: MockClock) -> None:
    relay = FakeRelay(1, "ann")
    tries: list[float] = []
    async with _running(relay) as (client, host, _):
        dial = host.dial_also

        async def note(*args: object) -> object:
            tries.append(trio.current_time())
            return await dial(*args)  # type: ignore[arg-type]

        host.dial_also = note  # type: ignore[assignment, method-assign]
        await host.lose(relay)
        await trio.sleep(1000)
        gaps = [later - earlier for earlier, later in pairwise(tries)]
        for count, gap in enumerate(gaps):
            top = min(limits.RELAY_RETRY_SECONDS_MAX, limits.RELAY_RETRY_SECONDS_MIN * 2 ** (count + 1))
            assert top / 2 <= gap <= top + 0.2
        assert len(set(gaps)) == len(gaps)
        relay.up = True
        await trio.sleep(limits.RELAY_RETRY_SECONDS_MAX)
        assert client.held()


async def test_a_change_of_network_ends_pauses_and_asks_whether_relays_hear_us(autojump_clock: MockClock) -> None:
    ann, bea = FakeRelay(1, "ann"), FakeRelay(2, "bea")
    async with _running(ann, bea) as (client, host, _):
        await host.lose(ann)
        await trio.sleep(1000)
        ann.up = True
        bea.silent = True
        client.network_changed()
        await trio.sleep(1)
        assert _operators(client) >= {"ann"}
        await trio.sleep(5)
        assert not host.connections(bea.peer)


async def test_a_quic_connection_stands_beside_the_tcp_one_and_comes_back(autojump_clock: MockClock) -> None:
    relay = FakeRelay(1, "ann")
    async with _running(relay) as (client, host, _):
        assert host.kept_both == {relay.peer}
        assert {info.transport for info in host.connections(relay.peer)} == {"tcp", "quic"}
        assert not client.silent_over_quic()
        (quic,) = (info.number for info in host.connections(relay.peer) if info.transport == "quic")
        await host.close_connection(quic)
        assert client.held()
        await trio.sleep(2 * limits.RELAY_PING_SECONDS)
        assert {info.transport for info in host.connections(relay.peer)} == {"tcp", "quic"}


async def test_a_change_of_network_has_the_relay_look_at_our_udp_anew(autojump_clock: MockClock) -> None:
    """A QUIC connection outlives a change of our address; what the relay saw of it stays the old one."""
    relay = FakeRelay(1, "ann")
    async with _running(relay) as (client, host, _):
        before = {info.transport: info.number for info in host.connections(relay.peer)}
        client.network_changed()
        await trio.sleep(2)
        after = {info.transport: info.number for info in host.connections(relay.peer)}
        assert after["tcp"] == before["tcp"]
        assert after["quic"] != before["quic"]
        assert client.held()


async def test_both_connections_to_a_relay_are_kept_alive(autojump_clock: MockClock) -> None:
    relay = FakeRelay(1, "ann")
    async with _running(relay):
        relay.pinged_at.clear()
        await trio.sleep(300)
        assert 2 * 18 <= len(relay.pinged_at) <= 2 * 20


async def test_a_relay_that_is_silent_over_quic_is_known_and_asked_ever_more_seldom(autojump_clock: MockClock) -> None:
    relay = FakeRelay(1, "ann")
    relay.udp = False
    async with _running(relay) as (client, _, _):
        assert client.silent_over_quic() == {relay.peer}
        assert client.held()


async def test_a_doubted_relay_is_asked_at_once_and_comes_last_for_a_minute(autojump_clock: MockClock) -> None:
    relay = FakeRelay(1, "ann")
    async with _running(relay) as (client, host, _):
        relay.silent = True
        client.doubt(relay.peer)
        assert client.is_doubted(relay.peer)
        await trio.sleep(2 * limits.RELAY_DOUBT_ANSWER_SECONDS + 0.5)
        assert not host.connections(relay.peer)
        await trio.sleep(limits.RELAY_DOUBT_SECONDS)
        assert not client.is_doubted(relay.peer)


async def test_a_slot_that_has_ended_already_counts_as_a_failure(autojump_clock: MockClock) -> None:
    relay = FakeRelay(1, "ann")
    relay.lasts_seconds = -10
    client = _client(RelayHost(relay))
    with pytest.raises(Unreachable, match="clock"):
        await client._reserve(client.relays[relay.peer])
    assert not client.held()


async def test_a_slot_for_ever_is_renewed_after_less_than_a_day(autojump_clock: MockClock) -> None:
    """A relay that says so could forget it unnoticed; and `covey status` has no date for it."""
    relay = FakeRelay(1, "ann")
    async with _running(relay) as (client, _, _):
        client._circuits.reserve = _for_ever  # type: ignore[method-assign]
        await trio.sleep(2 * 3600)
        (held,) = client.held()
        assert held.timetable.expires_at is not None
        assert held.timetable.expires_at <= wall() + limits.RESERVATION_SECONDS_MAX


async def _for_ever(_relay: object) -> Reservation:
    return Reservation(2**63, ())
