"""What a running node counts of its messages, and that nobody can be told by it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from time import time
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from trio.testing import MockClock, wait_all_tasks_blocked

from covey_core.errors import Unreachable
from covey_core.identity import Identity
from covey_core.metrics import CoreMetrics
from covey_core.peers import PeerId, peer_id_of
from covey_node import limits
from covey_node.crypto import session
from covey_node.metrics import NodeMetrics, RatchetReject
from covey_node.protocol.frames import Outcome
from covey_node.protocol.nat_kind import NatKind
from covey_node.protocol.paths import PathKind
from covey_node.protocol.punch_log import Ending, PunchOutcome, Side
from covey_node.protocol.status import Status
from covey_node.service.incoming import Incoming
from covey_node.service.insight import Insight
from covey_node.service.measuring import Measuring
from covey_node.service.path_watch import PathWatch
from covey_node.store import devices
from covey_node.store.devices import DeviceRow
from tests.node.service.lane_world import FakeReach, World
from tests.node.service.test_path_watch import CIRCUIT, QUIC, Connections
from tests.support.people import acquaint, reaches, running_node, running_relay, say

BOB_KEY = Identity.generate().public_key
BOB = peer_id_of(BOB_KEY)


@pytest.fixture
def lanes(tmp_path: Path) -> Iterator[World]:
    one = World(tmp_path)
    yield one
    one.close()


def value(registry: CollectorRegistry, name: str, **labels: str) -> float:
    return registry.get_sample_value(name, labels) or 0.0


async def test_a_conversation_is_counted_and_names_nobody(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    async with (
        running_relay() as (network, _, relay),
        running_node(
            tmp_path / "alice",
            network,
            listens=False,
            metrics=CoreMetrics(registry, role="node", version="1"),
        ) as alice,
        running_node(tmp_path / "bob", network, listens=False) as bob,
    ):
        await acquaint(alice, bob)
        for number in range(3):
            await reaches(alice, await say(alice, "bob", f"hello {number}"), Status.DELIVERED)
        await reaches(bob, await say(bob, "alice", "hi"), Status.DELIVERED)
        assert value(registry, "covey_delivery_seconds_count", via="relay") == 3
        assert value(registry, "covey_delivery_seconds_count", via="direct") == 0
        assert value(registry, "covey_payload_bytes_total", path="relayed", dir="outbound") >= 3 * 4096
        assert value(registry, "covey_payload_bytes_total", path="relayed", dir="inbound") >= 4096
        assert value(registry, "covey_peers", path="relayed") == 1
        text = generate_latest(registry).decode()
        peers = [(await alice.status()).peer, (await bob.status()).peer, relay.peer_id]
        assert [peer for peer in peers if peer in text or peer[-6:] in text] == []
        assert "127.0.0.1" not in text
        assert (await alice.status()).account not in text


async def test_bytes_count_at_the_path_that_carried_them(autojump_clock: MockClock, lanes: World) -> None:
    registry, connections = CollectorRegistry(), Connections()
    metrics = NodeMetrics(registry)
    watch = PathWatch(connections, connections, now=lambda: 0.0)  # type: ignore[arg-type]
    reach = FakeReach()
    counted = Measuring(metrics, lanes.ledger).reach(reach, watch)
    relayed = connections.open(BOB, CIRCUIT)
    punched = connections.open(BOB, QUIC)
    counted.carried(BOB, relayed.number, 100)
    counted.carried(BOB, punched.number, 20)
    counted.carried(BOB, None, 3)
    assert value(registry, "covey_payload_bytes_total", path="relayed", dir="outbound") == 100
    assert value(registry, "covey_payload_bytes_total", path="punched", dir="outbound") == 23
    assert reach.sent_bytes == 123
    assert (counted.path(BOB), counted.use(BOB)) == ("lan", None)


async def test_a_try_that_fails_does_not_count_into_the_time_of_a_later_one(
    autojump_clock: MockClock, lanes: World
) -> None:
    registry, connections = CollectorRegistry(), Connections()
    watch = PathWatch(connections, connections, now=lambda: 0.0, metrics=NodeMetrics(registry))  # type: ignore[arg-type]

    class Hard(FakeReach):
        async def connect(self, _contact_id: int, _peer: PeerId) -> None:
            await trio.sleep(5)
            raise Unreachable("nobody is there")

    counted = Measuring(NodeMetrics(CollectorRegistry()), lanes.ledger).reach(Hard(), watch)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch.run)
        await wait_all_tasks_blocked()
        with pytest.raises(Unreachable):
            await counted.connect(1, BOB)
        await trio.sleep(100)
        connections.open(BOB, CIRCUIT)
        await wait_all_tasks_blocked()
        assert value(registry, "covey_path_setup_seconds_sum", path="relayed") == 0
        nursery.cancel_scope.cancel()


async def test_the_outbox_is_counted_when_it_changed(autojump_clock: MockClock, lanes: World) -> None:
    registry = CollectorRegistry()
    measuring = Measuring(NodeMetrics(registry), lanes.ledger)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(measuring.run)
        await wait_all_tasks_blocked()
        assert value(registry, "covey_outbox_messages", status="queued") == 0
        contact = lanes.contact()
        for _ in range(3):
            await lanes.queue(contact, BOB_KEY)
        await trio.sleep(limits.OUTBOX_COUNT_SECONDS)
        await wait_all_tasks_blocked()
        assert value(registry, "covey_outbox_messages", status="queued") == 3
        nursery.cancel_scope.cancel()


def an_insight(lanes: World, registry: CollectorRegistry) -> Insight:
    """The wiring over parts that do nothing."""
    parts: Any = SimpleNamespace(relays={}, follow=lambda _follower: None, is_contact=None)
    core = CoreMetrics(registry, role="node", version="1")
    return Insight(
        lanes.ledger, parts, dialer=parts, relays=parts, keeper=parts, presence=parts, metrics=core, now=time
    )


def punched(peer: PeerId, their_nat: str | None) -> PunchOutcome:
    return PunchOutcome(peer, 0.0, Side.RECEIVER, 1, Ending.SUCCESS, transport="quic", their_nat=their_nat)


async def test_without_the_users_word_punches_are_counted_and_nobody_is_told(lanes: World) -> None:
    registry = CollectorRegistry()
    insight = an_insight(lanes, registry)
    insight.punch_finished(punched(BOB, "hard"))
    labels = {"side": "receiver", "num_attempts": "1", "outcome": "success"}
    assert value(registry, "libp2p_holepunch_outcomes_total", **labels) == 1
    assert insight._reports is None


async def test_a_report_names_the_nats_of_both_sides_as_far_as_they_are_known(lanes: World) -> None:
    insight = an_insight(lanes, CollectorRegistry())
    reports = insight.start_reports()
    insight.punch_finished(punched(BOB, "hard"))
    insight.known.reachability = SimpleNamespace(nat=NatKind.EASY)  # type: ignore[assignment]
    insight.punch_finished(punched(BOB, "hard"))
    insight.punch_finished(punched(BOB, None))
    assert [one.kind.nat_pair for one in reports._batch._waiting] == ["unknown", "easy_hard", "unknown"]


async def test_packets_that_do_not_open_are_counted_by_reason(lanes: World) -> None:
    rejects: list[RatchetReject] = []
    incoming = Incoming(lanes.ledger, lanes.own, lambda _: PathKind.LAN.value, rejected=rejects.append)
    contact = lanes.contact()
    row = DeviceRow(contact, BOB_KEY, bytes(32), added_at=0.0)
    lanes.database.connection.run(lambda tx: devices.put(tx, row))
    forged = session_prefix() + os.urandom(4096 - len(session_prefix()))
    outcomes = await incoming.receive(BOB, [b"", forged])
    assert outcomes == [Outcome.UNDECRYPTABLE] * 2
    assert rejects == [RatchetReject.MALFORMED, RatchetReject.NO_KEY]


def session_prefix() -> bytes:
    """What a packet of an established session begins with."""
    return session._ESTABLISHED
