"""Which path a peer has since when, and what of it is counted: contacts' devices only, each session once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
import trio
from prometheus_client import CollectorRegistry
from trio.testing import MockClock, wait_all_tasks_blocked

from covey_core.host import Connected, ConnectionInfo, Disconnected
from covey_core.identity import Identity
from covey_core.peers import PeerId
from covey_node.metrics import NodeMetrics
from covey_node.protocol.paths import PathKind
from covey_node.service.path_watch import NO_PATH, PathWatch

BOB, EVE, RELAY = (Identity.generate().peer_id for _ in range(3))
CIRCUIT = f"/ip4/198.51.100.1/tcp/4101/p2p/{RELAY}/p2p-circuit"
QUIC = "/ip4/198.51.100.9/udp/40123/quic-v1"
HOUR = 1.8e9


@dataclass
class Connections:
    """The host as far as a watch sees it, and the dialer: the last connection is the one in use."""

    standing: dict[PeerId, list[ConnectionInfo]] = field(default_factory=dict)
    queues: list[trio.MemorySendChannel[Connected | Disconnected]] = field(default_factory=list)
    number: int = 0

    def connections(self, peer: PeerId | None = None) -> tuple[ConnectionInfo, ...]:
        return tuple(info for key, infos in self.standing.items() for info in infos if peer in {None, key})

    @contextmanager
    def subscribe(self) -> Iterator[trio.MemoryReceiveChannel[Connected | Disconnected]]:
        send, receive = trio.open_memory_channel[Connected | Disconnected](100)
        self.queues.append(send)
        yield receive

    def open(self, peer: PeerId, addr: str) -> ConnectionInfo:
        self.number += 1
        relayed = addr.endswith("/p2p-circuit")
        info = ConnectionInfo(
            number=self.number,
            peer=peer,
            remote_addr=addr,
            inbound=True,
            relayed=relayed,
            admitted=True,
            transport="other",
            relay=RELAY if relayed else None,
            opened_at=trio.current_time(),
        )
        self.standing.setdefault(peer, []).append(info)
        for queue in self.queues:
            queue.send_nowait(Connected(info))
        return info

    def close(self, info: ConnectionInfo) -> None:
        self.standing[info.peer].remove(info)
        for queue in self.queues:
            queue.send_nowait(Disconnected(info, len(self.standing[info.peer])))

    def path(self, peer: PeerId) -> tuple[PathKind, str | None]:
        found = self.connections(peer)
        return (self.kind_of(found[-1]), found[-1].remote_addr) if found else (PathKind.NONE, None)

    def kind_of(self, info: ConnectionInfo) -> PathKind:
        return PathKind.RELAYED if info.relayed else PathKind.PUNCHED


@dataclass
class World:
    connections: Connections
    registry: CollectorRegistry
    watch: PathWatch
    contacts: set[PeerId]
    asked: list[PeerId]  # of whom the database was asked

    async def settle(self, seconds: float = 0) -> None:
        """Let this time pass and everything be told."""
        await trio.sleep(seconds)
        await wait_all_tasks_blocked()

    def counted(self, path: str, transport: str) -> float:
        labels = {"path": path, "transport": transport, "ipv": "ip4", "nat": "unknown"}
        return self.registry.get_sample_value("covey_paths_established_total", labels) or 0.0

    def peers(self, path: str) -> float | None:
        return self.registry.get_sample_value("covey_peers", {"path": path})

    def setups(self, path: str) -> float | None:
        return self.registry.get_sample_value("covey_path_setup_seconds_sum", {"path": path})


@pytest.fixture
async def world(autojump_clock: MockClock, nursery: trio.Nursery) -> World:
    connections, registry = Connections(), CollectorRegistry()

    contacts, asked = {BOB}, []

    async def is_contact(peer: PeerId) -> bool:
        await trio.lowlevel.checkpoint()
        asked.append(peer)
        return peer in contacts

    watch = PathWatch(
        connections,  # type: ignore[arg-type]
        connections,
        now=lambda: HOUR + trio.current_time(),
        operator={RELAY: "home"}.get,
        is_contact=is_contact,
        metrics=NodeMetrics(registry),
    )
    nursery.start_soon(watch.run)
    await wait_all_tasks_blocked()
    return World(connections, registry, watch, contacts, asked)


async def test_a_path_is_told_with_transport_relay_and_since_when(autojump_clock: MockClock, world: World) -> None:
    assert world.watch.path(BOB) == NO_PATH
    began = HOUR + trio.current_time()
    world.connections.open(BOB, CIRCUIT)
    await world.settle(10)
    path = world.watch.path(BOB)
    assert (path.kind, path.transport, path.relay, path.since) == (PathKind.RELAYED, "tcp", "home", began)
    punched = world.connections.open(BOB, QUIC)
    await world.settle(5)
    path = world.watch.path(BOB)
    assert (path.kind, path.transport, path.relay, path.since) == (PathKind.PUNCHED, "quic", None, began + 10)
    world.connections.open(BOB, QUIC)  # another connection of the same kind is no other path
    await world.settle(5)
    assert world.watch.path(BOB).since == began + 10
    for info in (punched, *world.connections.connections(BOB)):
        if info in world.connections.connections(BOB):
            world.connections.close(info)
    await world.settle()
    assert world.watch.path(BOB) == NO_PATH


async def test_an_unknown_relay_is_called_by_the_end_of_its_name(autojump_clock: MockClock, world: World) -> None:
    info = world.connections.open(BOB, CIRCUIT)
    other = Identity.generate().peer_id
    assert world.watch.operator(info) == "home"
    assert world.watch.operator(ConnectionInfo(**{**as_dict(info), "relay": other})) == f"…{other[-6:]}"


def as_dict(info: ConnectionInfo) -> dict[str, object]:
    return {name: getattr(info, name) for name in info.__slots__}


async def test_a_session_counts_once_at_the_path_after_thirty_seconds(autojump_clock: MockClock, world: World) -> None:
    world.connections.open(BOB, CIRCUIT)
    await world.settle(1)
    assert world.peers("relayed") == 1
    world.connections.open(BOB, QUIC)
    await world.settle(28)
    assert (world.counted("punched", "quic"), world.counted("relayed", "tcp")) == (0, 0)
    assert (world.peers("relayed"), world.peers("punched")) == (0, 1)
    await world.settle(2)
    assert (world.counted("punched", "quic"), world.counted("relayed", "tcp")) == (1, 0)
    await world.settle(500)
    assert world.counted("punched", "quic") == 1
    assert world.setups("punched") == 1


async def test_a_session_that_ends_early_counts_at_its_end(autojump_clock: MockClock, world: World) -> None:
    info = world.connections.open(BOB, CIRCUIT)
    await world.settle(3)
    world.connections.close(info)
    await world.settle()
    assert world.counted("relayed", "tcp") == 1
    assert world.peers("relayed") == 0


async def test_relays_and_strangers_are_not_counted(autojump_clock: MockClock, world: World) -> None:
    world.connections.open(EVE, QUIC)
    world.connections.open(RELAY, "/ip4/198.51.100.1/tcp/4101")
    await world.settle(60)
    assert world.counted("punched", "quic") == 0
    assert world.peers("punched") == 0


async def test_the_time_runs_from_the_first_try_and_not_from_one_that_was_given_up(
    autojump_clock: MockClock, world: World
) -> None:
    world.watch.wanted(BOB)
    await world.settle(2)
    world.connections.open(BOB, CIRCUIT)
    await world.settle()
    assert world.setups("relayed") == 2
    world.connections.close(world.connections.connections(BOB)[0])
    await world.settle()
    world.watch.wanted(BOB)
    world.watch.given_up(BOB)
    await world.settle(3600)
    world.connections.open(BOB, CIRCUIT)
    await world.settle(60)
    assert world.setups("relayed") == 2


async def test_a_stranger_is_asked_for_once_until_contacts_change(autojump_clock: MockClock, world: World) -> None:
    world.connections.open(EVE, QUIC)
    await world.settle(1)
    for _ in range(3):
        world.connections.open(BOB, CIRCUIT)
        await world.settle(1)
    assert world.asked.count(EVE) == 1
    world.contacts.add(EVE)
    world.watch.acquainted()
    await world.settle()
    assert world.peers("punched") == 1


async def test_who_left_is_forgotten(autojump_clock: MockClock, world: World) -> None:
    infos = [world.connections.open(Identity.generate().peer_id, QUIC) for _ in range(10)]
    infos.append(world.connections.open(BOB, CIRCUIT))
    await world.settle(60)
    for info in infos:
        world.connections.close(info)
    await world.settle(60)
    assert not world.watch._contacts | world.watch._strangers | world.watch._since.keys()
    assert not world.watch._count.standing()
