"""Hosts that only exist in memory, for the puncher: relayed connections with a delay, and punches that work or not.

Under a MockClock every moment is exact. `World.works` says whether the next punch that both sides make at once leads to
a direct connection.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import trio

from covey_core.errors import FrameTooLarge, StreamLost, Unreachable
from covey_core.host import Connected, ConnectionInfo, Identified, ProtocolRefused, PunchAddress, PunchResult
from covey_core.network import Network, new_network
from covey_core.peers import PeerId
from covey_core.wire.dcutr import DCUTR_PROTOCOL
from covey_core.wire.framing import FrameDecoder

RELAY_ADDR = "/ip4/45.79.10.10/tcp/4001"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Punched:
    """One call of `Host.punch`."""

    at: float
    addrs: tuple[str, ...]
    client: bool
    window_seconds: float


class FakeStream:
    """One end of a stream; what is written arrives after the world's delay."""

    def __init__(self, world: World, peer: PeerId, connection: ConnectionInfo) -> None:
        self.peer = peer
        self.relayed = connection.relayed
        self._world = world
        self._send, self._receive = trio.open_memory_channel[tuple[float, bytes | StreamLost | None]](64)
        self.other: FakeStream
        self.is_reset = False

    async def write_frame(self, payload: bytes, *, limit: int) -> None:
        await trio.lowlevel.checkpoint()
        if self.is_reset or self.other.is_reset:
            raise StreamLost("reset")
        self._world.said.append(payload)
        self.other.give(payload)

    def give(self, item: bytes | StreamLost | None) -> None:
        self._send.send_nowait((trio.current_time() + self._world.delay, item))

    async def read_frame(self, *, limit: int) -> bytes | None:
        at, item = await self._receive.receive()
        await trio.sleep_until(at)
        if isinstance(item, StreamLost):
            raise item
        if item is not None and len(item) > limit:
            raise FrameTooLarge(size=len(item), limit=limit)
        return item

    async def close(self) -> None:
        await trio.lowlevel.checkpoint()
        self.other.give(None)

    async def reset(self) -> None:
        await trio.lowlevel.checkpoint()
        self.is_reset = True
        self.other.give(StreamLost("reset"))


class FakeHost:
    """What the puncher uses of a host."""

    def __init__(self, world: World, peer_id: PeerId, addrs: tuple[str, ...]) -> None:
        self.world = world
        self.peer_id = peer_id
        self.network: Network = world.network
        self.addrs = addrs
        self.standing: list[ConnectionInfo] = []
        self.agents: dict[PeerId, str] = {}
        self.listens: dict[PeerId, tuple[str, ...]] = {}
        self.handlers: dict[str, Callable[[Any], Awaitable[None]]] = {}
        self.dialed: list[tuple[str, ...]] = []
        self.punches: list[Punched] = []
        self.opened = 0
        self._subscribers: list[trio.MemorySendChannel[Any]] = []
        self.arrived = trio.Event()

    def handle(self, protocol: str, handler: Callable[[Any], Awaitable[None]]) -> None:
        self.handlers[protocol] = handler

    def connections(self, peer: PeerId | None = None) -> tuple[ConnectionInfo, ...]:
        return tuple(one for one in self.standing if peer is None or one.peer == peer)

    def agent(self, peer: PeerId) -> str | None:
        return self.agents.get(peer)

    def listen_addrs_of(self, peer: PeerId) -> tuple[str, ...]:
        return self.listens.get(peer, ())

    @contextmanager
    def subscribe(self, *, identified: bool = False) -> Iterator[trio.MemoryReceiveChannel[Any]]:
        send, receive = trio.open_memory_channel[Any](64)
        self._subscribers.append(send)
        yield receive
        self._subscribers.remove(send)

    def tell(self, event: Connected | Identified) -> None:
        for one in self._subscribers:
            one.send_nowait(event)

    async def open_stream(
        self, peer: PeerId, protocol: str, *, on: int | None = None, early: bytes = b""
    ) -> FakeStream:
        connection = next((one for one in self.connections(peer) if one.number == on), None)
        if connection is None:
            raise Unreachable("not connected")
        other = self.world.hosts[peer]
        if protocol not in other.handlers:
            await trio.sleep(2 * self.world.delay)
            raise ProtocolRefused("not spoken")
        self.opened += 1
        await trio.lowlevel.checkpoint()
        stream = self.world.stream(self, other, connection, protocol, after=self.world.delay)
        decoder = FrameDecoder(limit=4096)
        decoder.feed(early)
        while (frame := decoder.next_frame()) is not None:
            await stream.write_frame(frame, limit=4096)
        await trio.sleep(2 * self.world.delay)
        return stream

    async def connect(self, peer: PeerId, addrs: Sequence[str], *, timeout_seconds: float) -> None:
        self.dialed.append(tuple(addrs))
        if not self.world.dialable.intersection(addrs):
            await trio.sleep(timeout_seconds)
            raise Unreachable("no answer")
        await trio.sleep(4 * self.world.delay)
        self.world.connect(self, self.world.hosts[peer], relayed=False)

    async def punch(self, peer: PeerId, addrs: Sequence[str], *, client: bool, window_seconds: float) -> PunchResult:
        self.punches.append(Punched(trio.current_time(), tuple(addrs), client, window_seconds))
        self.world.punching.add((self.peer_id, peer))
        try:
            with trio.move_on_after(window_seconds):
                if (peer, self.peer_id) in self.world.punching and self.world.works():
                    await trio.sleep(self.world.delay)
                    self.world.connect(self, self.world.hosts[peer], relayed=False, punched=True)
                while not self._direct(peer):
                    await self.arrived.wait()
        finally:
            self.world.punching.discard((self.peer_id, peer))
        won = self._direct(peer)
        reason = self.world.failure
        outcome = "failed" if won is None else "success"
        return PunchResult(won, tuple(PunchAddress(addr, "tcp", "ip4", outcome, reason) for addr in addrs))

    def _direct(self, peer: PeerId) -> ConnectionInfo | None:
        return next((one for one in self.connections(peer) if not one.relayed), None)


@dataclass
class World:
    """All hosts, and how far they are from each other: `delay` is one way, in seconds."""

    delay: float = 0.04
    works: Callable[[], bool] = lambda: True
    failure: str = "timeout"
    network: Network = field(default_factory=lambda: new_network("test", private=False))
    hosts: dict[PeerId, FakeHost] = field(default_factory=dict)
    dialable: set[str] = field(default_factory=set)
    punching: set[tuple[PeerId, PeerId]] = field(default_factory=set)
    said: list[bytes] = field(default_factory=list)
    streams: list[FakeStream] = field(default_factory=list)
    nursery: trio.Nursery | None = None

    def host(self, peer_id: PeerId, *addrs: str) -> FakeHost:
        self.hosts[peer_id] = FakeHost(self, peer_id, addrs)
        return self.hosts[peer_id]

    def connect(
        self, dialer: FakeHost, target: FakeHost, *, relayed: bool, punched: bool = False, agent: str | None = "covey/1"
    ) -> ConnectionInfo:
        """Bring up a connection; both sides are told, and hear one round trip later who the other is."""
        numbers = next(_numbers), next(_numbers)
        for host, other, inbound, number in (
            (dialer, target, False, numbers[0]),
            (target, dialer, True, numbers[1]),
        ):
            info = ConnectionInfo(
                number=number,
                peer=other.peer_id,
                remote_addr=f"{RELAY_ADDR}/p2p-circuit" if relayed else "/ip4/45.79.50.102/tcp/4001",
                inbound=inbound,
                relayed=relayed,
                admitted=True,
                transport="other" if relayed else "tcp",
                punched=punched,
            )
            host.standing.append(info)
            host.arrived.set()
            host.arrived = trio.Event()
            host.tell(Connected(info))
            if agent is not None and self.nursery is not None:
                self.nursery.start_soon(self._identify, host, info, agent)
        return dialer.standing[-1]

    async def _identify(self, host: FakeHost, info: ConnectionInfo, agent: str) -> None:
        await trio.sleep(2 * self.delay)
        host.agents[info.peer] = agent
        host.listens.setdefault(info.peer, self.hosts[info.peer].addrs)
        host.tell(Identified(replace(info)))

    def stream(
        self, opener: FakeHost, other: FakeHost, connection: ConnectionInfo, protocol: str, *, after: float = 0.0
    ) -> FakeStream:
        """Open a stream; the other side's handler runs."""
        assert self.nursery is not None
        theirs = next(
            one
            for one in other.connections(opener.peer_id)
            if one.relayed == connection.relayed and one.inbound is not connection.inbound
        )
        near, far = FakeStream(self, other.peer_id, connection), FakeStream(self, opener.peer_id, theirs)
        near.other, far.other = far, near
        self.streams += [near, far]
        self.nursery.start_soon(self._serve, other, protocol, far, after)
        return near

    @staticmethod
    async def _serve(host: FakeHost, protocol: str, stream: FakeStream, after: float) -> None:
        await trio.sleep(after)
        try:
            await host.handlers[protocol](stream)
        except (StreamLost, trio.TooSlowError):
            await stream.reset()
        else:
            await stream.close()

    def cut(self, one: FakeHost, other: FakeHost) -> None:
        """End every connection between two hosts, and all streams."""
        one.standing = [item for item in one.standing if item.peer != other.peer_id]
        other.standing = [item for item in other.standing if item.peer != one.peer_id]
        for stream in self.streams:
            stream.is_reset = True
            stream.give(StreamLost("the connection was lost"))


@asynccontextmanager
async def world(**settings: Any) -> AsyncIterator[World]:
    """A world for the length of the block; everything in it ends with the block."""
    async with trio.open_nursery() as nursery:
        yield World(nursery=nursery, **settings)
        nursery.cancel_scope.cancel()


__all__ = ["DCUTR_PROTOCOL", "FakeHost", "FakeStream", "Punched", "World", "world"]
