"""Two Yamux connections joined in memory: what needs no socket is tested on a mocked clock."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from libp2p.connection_types import ConnectionType
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID
from trio.testing import memory_stream_pair

from covey_core.host.yamux import HardenedYamux

PEER = ID.from_pubkey(create_new_key_pair(b"\x07" * 32).public_key)


class MemorySession:
    """What Yamux needs of a Noise session."""

    def __init__(self, stream: Any, *, is_initiator: bool) -> None:
        self.stream = stream
        self.is_initiator = is_initiator
        self.written = 0
        self.stall: trio.Event | None = None

    async def read(self, n: int | None = None) -> bytes:
        try:
            return bytes(await self.stream.receive_some(n))
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            return b""

    async def write(self, data: bytes) -> None:
        half = len(data) // 2
        await self.stream.send_all(data[:half])
        if self.stall is not None:
            await self.stall.wait()
        await self.stream.send_all(data[half:])
        self.written += len(data)

    async def close(self) -> None:
        await trio.aclose_forcefully(self.stream)

    def get_remote_address(self) -> None:
        return None

    def get_transport_addresses(self) -> list[Any]:
        return []

    def get_connection_type(self) -> ConnectionType:
        return ConnectionType.DIRECT


@asynccontextmanager
async def yamux_pair(
    *,
    interval: float = 15,
    timeout: float = 10,  # noqa: ASYNC109 - a setting
) -> AsyncIterator[tuple[HardenedYamux, HardenedYamux]]:
    left, right = memory_stream_pair()
    pair = [
        HardenedYamux(
            MemorySession(stream, is_initiator=number == 0),  # type: ignore[arg-type]
            PEER,
            liveness_interval_seconds=interval,
            liveness_timeout_seconds=timeout,
        )
        for number, stream in enumerate((left, right))
    ]
    async with trio.open_nursery() as nursery:
        for one in pair:
            nursery.start_soon(one.start)
            await one.event_started.wait()
        yield pair[0], pair[1]
        nursery.cancel_scope.cancel()
