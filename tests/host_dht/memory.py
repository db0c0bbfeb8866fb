"""Hosts in memory: what the DHT needs of a host, without sockets, so that tests run on a MockClock."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

import trio
import trio.testing
from libp2p.identity.identify.pb.identify_pb2 import Identify

from covey_core.errors import StreamLost, Unreachable
from covey_core.host import Host
from covey_core.host.kad_addrs import binary_addr
from covey_core.host.kad_identify import IDENTIFY
from covey_core.network import Network
from covey_core.peers import PeerId
from tests.host_dht.values import kad_peer, peer_number


class MemoryStream:
    """One end of a stream of frames."""

    def __init__(self, peer: PeerId, protocol: str, remote_addr: str, *, relayed: bool) -> None:
        self.peer, self.protocol, self.remote_addr, self.relayed = peer, protocol, remote_addr, relayed
        self.other: MemoryStream
        self._send, self._receive = trio.open_memory_channel[bytes](1_000)
        self.is_reset = False

    async def write_frame(self, payload: bytes, *, limit: int) -> None:
        assert len(payload) <= limit
        if self.is_reset:
            raise StreamLost("reset")
        await self.other._send.send(payload)

    async def read_frame(self, *, limit: int) -> bytes | None:
        try:
            payload = await self._receive.receive()
        except trio.EndOfChannel:
            if self.is_reset:
                raise StreamLost("reset") from None
            return None
        assert len(payload) <= limit
        return payload

    async def close(self) -> None:
        self.other._send.close()

    async def reset(self) -> None:
        for end in (self, self.other):
            end.is_reset = True
            end._send.close()


@dataclass
class MemoryHost:
    """One host; `dead` ones answer no dial, `silent` ones accept streams and never answer."""

    number: int
    net: MemoryNet
    listening: bool = True
    dead: bool = False
    silent: bool = False
    connected: set[PeerId] = field(default_factory=set)
    handlers: dict[str, Callable[[MemoryStream], Awaitable[None]]] = field(default_factory=dict)
    relayed: bool = False
    dials: int = 0
    opened: list[tuple[PeerId, str]] = field(default_factory=list)

    @property
    def peer_id(self) -> PeerId:
        return peer_number(self.number)

    @property
    def network(self) -> Network:
        return self.net.network

    @property
    def addrs(self) -> tuple[str, ...]:
        return kad_peer(self.number).addrs if self.listening else ()

    @property
    def as_host(self) -> Host:
        return cast("Host", self)

    def handle(self, protocol: str, handler: Callable[[MemoryStream], Awaitable[None]]) -> None:
        self.handlers[protocol] = handler

    def unhandle(self, protocol: str) -> None:
        del self.handlers[protocol]

    def connections(self, peer: PeerId) -> tuple[PeerId, ...]:
        return (peer,) if peer in self.connected else ()

    async def connect(self, peer: PeerId, addrs: Sequence[str], *, timeout_seconds: float) -> None:
        self.dials += 1
        other = self.net.hosts.get(peer)
        if other is None or other.dead or not set(addrs) & set(other.addrs):
            await trio.sleep(timeout_seconds)
            raise Unreachable("nobody there")
        self.connected.add(peer)
        other.connected.add(self.peer_id)

    async def open_stream(self, peer: PeerId, protocol: str) -> MemoryStream:
        other = self.net.hosts[peer]
        self.opened.append((peer, protocol))
        if peer not in self.connected:
            raise Unreachable("not connected")
        if other.dead:
            raise StreamLost("gone")
        here = MemoryStream(peer, protocol, "/ip4/10.9.9.9/tcp/1", relayed=self.relayed)
        there = MemoryStream(self.peer_id, protocol, kad_peer(self.number).addrs[0], relayed=self.relayed)
        here.other, there.other = there, here
        if other.silent:
            return here
        handler = other.handlers.get(protocol)
        if protocol == IDENTIFY:
            handler = other.identify
        if handler is None:
            raise StreamLost("not spoken")
        self.net.nursery.start_soon(_guarded, handler, there)
        return here

    async def identify(self, stream: MemoryStream) -> None:
        message = Identify(protocols=list(self.handlers), listen_addrs=[binary_addr(addr) for addr in self.addrs])
        await stream.write_frame(message.SerializeToString(), limit=65_536)
        await stream.close()


class MemoryNet:
    """All hosts of a test."""

    def __init__(self, network: Network, nursery: trio.Nursery) -> None:
        self.network = network
        self.nursery = nursery
        self.hosts: dict[PeerId, MemoryHost] = {}

    def host(self, number: int, *, listening: bool = True) -> MemoryHost:
        made = MemoryHost(number, self, listening)
        self.hosts[made.peer_id] = made
        return made


async def _guarded(handler: Callable[[MemoryStream], Awaitable[None]], stream: MemoryStream) -> None:
    with contextlib.suppress(StreamLost):  # as the host's guard does
        await handler(stream)


async def settled() -> None:
    """Wait until what was started in the background has come to rest."""
    await trio.testing.wait_all_tasks_blocked()
