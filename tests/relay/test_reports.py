"""Punch reports over real connections on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from covey_core.errors import StreamLost
from covey_core.host import Host
from covey_core.network import Network
from covey_core.wire.report import NatPair, PunchKind, PunchOutcome, PunchTransport, encode_report
from covey_relay import limits
from covey_relay.metrics import RelayMetrics
from covey_relay.net.reports import serve_reports
from covey_relay.reports import ReportAllowance
from tests.relay.conftest import Relay, relay_on
from tests.support.circuit_client import reserve

WON = PunchKind(PunchOutcome.SUCCESS, PunchTransport.QUIC, NatPair.EASY_EASY)
LOST = PunchKind(PunchOutcome.FAILED, PunchTransport.OTHER, NatPair.HARD_HARD)


@asynccontextmanager
async def reporting(public: Network) -> AsyncIterator[tuple[Relay, CollectorRegistry]]:
    registry = CollectorRegistry()
    with trio.fail_after(20):
        async with (
            relay_on(public) as relay,
            serve_reports(relay.host, holds_slot=relay.service.holds, metrics=RelayMetrics(registry)),
        ):
            yield relay, registry


async def report(client: Host, relay: Host, payload: bytes) -> bool:
    """Send one report; whether the relay took it."""
    stream = await client.open_stream(relay.peer_id, relay.network.protocol("report"))
    try:
        await stream.write_frame(payload, limit=1 << 20)
        await stream.close_write()
        return await stream.read_frame(limit=1024) is None
    except StreamLost:
        return False


def counted(registry: CollectorRegistry, kind: PunchKind) -> float:
    labels = {"outcome": kind.outcome.value, "transport": kind.transport.value, "nat_pair": kind.nat_pair.value}
    return registry.get_sample_value("covey_relay_reported_punches_total", labels) or 0.0


async def test_a_report_of_who_holds_a_slot_is_counted(public: Network) -> None:
    async with reporting(public) as (relay, registry):
        alice = await relay.client()
        await reserve(alice, relay.host)
        assert await report(alice, relay.host, encode_report({WON: 3, LOST: 1}))
        assert (counted(registry, WON), counted(registry, LOST)) == (3, 1)
        text = generate_latest(registry).decode()
        assert alice.peer_id not in text
        assert alice.peer_id[-6:] not in text


async def test_without_a_slot_nothing_is_counted(public: Network) -> None:
    async with reporting(public) as (relay, registry):
        alice = await relay.client()
        assert not await report(alice, relay.host, encode_report({WON: 3}))
        assert counted(registry, WON) == 0


@pytest.mark.parametrize(
    "payload", [b"", b"\xff" * 40, bytes.fromhex("0a080804100218022003"), bytes.fromhex("0a080801100218022041")]
)
async def test_what_is_no_report_counts_nothing_and_harms_nothing(public: Network, payload: bytes) -> None:
    async with reporting(public) as (relay, registry):
        alice = await relay.client()
        await reserve(alice, relay.host)
        assert not await report(alice, relay.host, payload)
        assert counted(registry, WON) == 0
        assert await report(alice, relay.host, encode_report({WON: 1}))


async def test_a_peer_reports_four_times_an_hour(public: Network) -> None:
    async with reporting(public) as (relay, registry):
        alice, bob = await relay.client(), await relay.client()
        await reserve(alice, relay.host)
        await reserve(bob, relay.host)
        taken = [await report(alice, relay.host, encode_report({WON: 64})) for _ in range(6)]
        assert taken == [True] * limits.REPORTS_PER_PEER + [False] * 2
        assert await report(bob, relay.host, encode_report({WON: 1}))
        assert counted(registry, WON) == 64 * limits.REPORTS_PER_PEER + 1


async def test_a_report_that_never_comes_holds_a_stream_only_for_a_while(
    public: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "REPORT_READ_SECONDS", 0.05)
    async with reporting(public) as (relay, _):
        alice = await relay.client()
        await reserve(alice, relay.host)
        stream = await alice.open_stream(relay.host.peer_id, relay.host.network.protocol("report"))
        await stream.write(b"\x30")
        with pytest.raises(StreamLost):
            await stream.read_frame(limit=1024)


def test_the_allowance_slides_and_remembers_only_who_reported_lately() -> None:
    allowance = ReportAllowance(peers_max=3)
    window = limits.REPORT_WINDOW_SECONDS
    assert [allowance.take("alice", now=at) for at in (0, 1, 2, 3, 4)] == [True, True, True, True, False]
    assert allowance.take("alice", now=window)
    assert not allowance.take("alice", now=window + 0.5)
    assert [allowance.take(peer, now=window + 1) for peer in ("bob", "carol", "dave")] == [True, True, False]
    assert len(allowance) == 3
    assert allowance.take("dave", now=2 * window + 1)
    assert len(allowance) == 1
