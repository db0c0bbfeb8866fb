"""Relays as a client sees them, without sockets, for a MockClock: they grant, refuse, fall silent, leave as told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import trio

from covey_core.errors import StreamLost, Unreachable
from covey_core.host import Connected, ConnectionInfo, Disconnected
from covey_core.identity import Identity
from covey_core.network import RelayEntry
from covey_core.peers import PeerId
from covey_core.wire.circuit import HopMessage, HopType, Reservation, Status, decode_hop, encode_hop
from tests.support.people import empty_network

WALL = 1.7e9  # what the wall clock shows when trio's shows 0


def wall() -> float:
    """The wall clock."""
    return WALL + trio.current_time()


class FakeRelay:
    """One relay at 127.<number>.0.1, on TCP and QUIC."""

    def __init__(self, number: int, operator: str) -> None:
        self.peer: PeerId = Identity.generate().peer_id
        head = f"/ip4/127.{number}.0.1"
        self.addrs = (f"{head}/udp/1/quic-v1/p2p/{self.peer}", f"{head}/tcp/1/p2p/{self.peer}")
        self.entry = RelayEntry(operator, self.addrs)
        self.up = True
        self.udp = True
        self.silent = False
        self.grants = True
        self.lasts_seconds = 3600.0
        self.asked_at: list[float] = []
        self.pinged_at: list[float] = []


class _HopStream:
    def __init__(self, relay: FakeRelay) -> None:
        self._relay = relay

    async def write_frame(self, payload: bytes, *, limit: int) -> None:
        await trio.lowlevel.checkpoint()
        assert decode_hop(payload).type is HopType.RESERVE
        self._relay.asked_at.append(trio.current_time())

    async def read_frame(self, *, limit: int) -> bytes | None:
        await trio.lowlevel.checkpoint()
        if self._relay.silent:
            await trio.sleep_forever()
        if not self._relay.grants:
            return encode_hop(HopMessage(HopType.STATUS, status=Status.RESERVATION_REFUSED))
        slot = Reservation(expires_at=int(wall() + self._relay.lasts_seconds), addrs=())
        return encode_hop(HopMessage(HopType.STATUS, status=Status.OK, reservation=slot))

    async def close(self) -> None:
        await trio.lowlevel.checkpoint()


class RelayHost:
    """A host whose peers are `relays`."""

    def __init__(self, *relays: FakeRelay) -> None:
        self.peer_id = Identity.generate().peer_id
        self.network = empty_network()
        self.relays = {relay.peer: relay for relay in relays}
        self.standing: dict[int, ConnectionInfo] = {}
        self.kept_both: set[PeerId] = set()
        self._number = 0
        self._told: list[trio.MemorySendChannel[Any]] = []

    def handle(self, _protocol: str, _handler: Callable[..., Awaitable[None]]) -> None:
        """No circuit comes in."""

    def keep_both(self, peer: PeerId) -> None:
        self.kept_both.add(peer)

    def listen_addrs_of(self, _peer: PeerId) -> tuple[str, ...]:
        return ()

    @contextmanager
    def subscribe(self, *, identified: bool = False) -> Iterator[trio.MemoryReceiveChannel[Any]]:
        send, receive = trio.open_memory_channel[Any](1000)
        self._told.append(send)
        yield receive

    def connections(self, peer: PeerId | None = None) -> tuple[ConnectionInfo, ...]:
        return tuple(info for info in self.standing.values() if peer in {None, info.peer})

    async def connect(self, peer: PeerId, addrs: tuple[str, ...]) -> None:
        if not self.connections(peer):
            await self.dial_also(peer, addrs[0])

    async def dial_also(self, peer: PeerId, addr: str) -> ConnectionInfo:
        await trio.sleep(0.05)
        relay = self.relays[peer]
        udp = "/udp/" in addr
        if not relay.up or relay.silent or (udp and not relay.udp):
            raise Unreachable("connection refused")
        self._number += 1
        info = ConnectionInfo(
            self._number, peer, addr.partition("/p2p/")[0], inbound=False, relayed=False, admitted=True,
            transport="quic" if udp else "tcp",
        )  # fmt: skip
        self.standing[info.number] = info
        self._tell(Connected(info))
        return info

    async def open_stream(self, peer: PeerId, _protocol: str, *, on: int | None = None) -> _HopStream:
        await trio.lowlevel.checkpoint()
        if not self.connections(peer):
            raise Unreachable("not connected")
        return _HopStream(self.relays[peer])

    async def ping(self, peer: PeerId, *, on: int | None = None) -> float:
        relay = self.relays[peer]
        relay.pinged_at.append(trio.current_time())
        if relay.silent:
            await trio.sleep(5)
            raise StreamLost("no answer to a ping within 5 s")
        await trio.sleep(0.05)
        return 0.05

    async def close_connection(self, number: int) -> None:
        await trio.lowlevel.checkpoint()
        info = self.standing.pop(number, None)
        if info is not None:
            self._tell(Disconnected(info, len(self.connections(info.peer))))

    async def lose(self, relay: FakeRelay) -> None:
        """End every connection to a relay, as when it is killed."""
        relay.up = False
        for info in self.connections(relay.peer):
            await self.close_connection(info.number)

    def _tell(self, event: Any) -> None:
        for told in self._told:
            told.send_nowait(event)
