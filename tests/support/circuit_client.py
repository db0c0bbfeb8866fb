"""A client of circuit relay v2, just large enough for tests: reserve, dial, accept."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio
from trio.testing import wait_all_tasks_blocked

from covey_core.host import Host, Stream
from covey_core.peers import PeerId
from covey_core.wire.circuit import (
    HOP_PROTOCOL,
    STOP_PROTOCOL,
    CircuitPeer,
    HopMessage,
    HopType,
    Status,
    StopMessage,
    StopType,
    decode_hop,
    decode_stop,
    encode_hop,
    encode_stop,
)

MESSAGE_BYTES = 4096


async def ask(host: Host, relay: Host, payload: bytes) -> tuple[HopMessage, Stream]:
    """Send one hop message (any bytes) and return the relay's answer and the stream."""
    stream = await host.open_stream(relay.peer_id, HOP_PROTOCOL)
    await stream.write_frame(payload, limit=1 << 20)
    frame = await stream.read_frame(limit=MESSAGE_BYTES)
    assert frame is not None, "the relay closed without an answer"
    return decode_hop(frame), stream


async def reserve(host: Host, relay: Host) -> HopMessage:
    """Ask for a slot; returns the answer."""
    answer, stream = await ask(host, relay, encode_hop(HopMessage(HopType.RESERVE)))
    await stream.close()
    return answer


async def dial(host: Host, relay: Host, target: PeerId) -> tuple[HopMessage, Stream]:
    """Ask for a circuit to `target`; returns the answer and the stream, which is the circuit when it says OK."""
    return await ask(host, relay, encode_hop(HopMessage(HopType.CONNECT, peer=CircuitPeer(target))))


@dataclass
class Acceptor:
    """Takes circuits at a host: each becomes a pair of the relay's CONNECT and the stream."""

    answer: Status | bytes | None = Status.OK
    """What to say to the relay: a status, raw bytes in a frame, or nothing at all."""
    early: bytes = b""
    """Sent right behind the status, in the same write."""
    accepted: list[tuple[StopMessage, Stream]] = field(default_factory=list)
    over: trio.Event = field(default_factory=trio.Event)

    async def serve(self, stream: Stream) -> None:
        frame = await stream.read_frame(limit=MESSAGE_BYTES)
        assert frame is not None
        message = decode_stop(frame)
        if isinstance(self.answer, Status):
            payload = encode_stop(StopMessage(StopType.STATUS, status=self.answer))
            await stream.write(bytes([len(payload)]) + payload + self.early)
        elif self.answer is not None:
            await stream.write_frame(self.answer, limit=MESSAGE_BYTES)
        self.accepted.append((message, stream))
        await self.over.wait()

    async def next(self) -> tuple[StopMessage, Stream]:
        """Return the next circuit that came."""
        await until(lambda: bool(self.accepted))
        return self.accepted.pop(0)


@asynccontextmanager
async def accepting(host: Host) -> AsyncIterator[Acceptor]:
    """Take circuits at `host` for the length of the block."""
    acceptor = Acceptor()
    host.handle(STOP_PROTOCOL, acceptor.serve)
    try:
        yield acceptor
    finally:
        acceptor.over.set()


async def until(condition: Callable[[], bool]) -> None:
    """Return when `condition` holds; looks again whenever all tasks have come to rest. The caller sets the deadline."""
    while not condition():
        await wait_all_tasks_blocked(0.002)
