"""One stream to one peer, as the rest of Covey sees it.

Owns: reading, writing, frames, half-close, and the translation of every libp2p error into `StreamLost`.
Spec: docs/spec/host.md, docs/spec/framing.md. Never touches: negotiation, the connection table.
"""

from typing import Any, Final

import trio
from libp2p.exceptions import BaseLibp2pError
from libp2p.network.stream.net_stream import NetStream
from libp2p.stream_muxer.exceptions import MuxedStreamEOF

from covey_core import limits as core_limits
from covey_core.errors import FrameTooLarge, StreamLost
from covey_core.host import limits
from covey_core.host.contained import shielded
from covey_core.peers import PeerId
from covey_core.wire import framing, uvarint

# What libp2p's streams were seen to raise: its own errors, trio's for a socket that went, and dictionary errors of a
# Yamux that cleared its tables meanwhile.
LOST: Final = (BaseLibp2pError, OSError, trio.BrokenResourceError, trio.ClosedResourceError, KeyError, ValueError)


class Stream:
    """A stream on which a protocol has been agreed. Every method may raise `StreamLost`, none a third party's error.

    Reads and writes wait as long as the peer makes them wait: the caller sets the deadline. A write that is cancelled
    resets the stream, since nobody knows how much of it left. One task reads and one writes at a time.
    """

    def __init__(self, net: NetStream, *, peer: PeerId, remote_addr: str, relayed: bool, protocol: str) -> None:
        self.peer: Final = peer
        self.remote_addr: Final = remote_addr
        self.relayed: Final = relayed
        self.protocol: Final = protocol
        self._net = net
        self._muxed = net.muxed_stream  # libp2p's stream above it takes two locks more for every read and write
        self._buffer = b""
        self._at = 0  # what lies before it has been handed out
        self._ended = False
        self._is_reset = False
        self.handed_over = False

    async def read_some(self, max_bytes: int = core_limits.FRAME_READ_BUFFER_BYTES) -> bytes:
        """Return 1 to `max_bytes` bytes, or b"" when the peer closed its side cleanly."""
        if self._at < len(self._buffer):
            data = self._buffer[self._at : self._at + max_bytes]
            self._at += len(data)
            return data
        return await self._receive(max_bytes)

    async def write(self, data: bytes) -> None:
        """Send `data`; returns when it has been handed to the socket, not when the peer has it."""
        if self._is_reset:
            raise StreamLost("the stream was reset")
        try:
            await self._muxed.write(data)
        except LOST as exc:
            raise StreamLost("the stream broke while writing") from exc
        except trio.Cancelled:
            await self.reset()
            raise

    async def read_frame(self, *, limit: int) -> bytes | None:
        """Return the next frame's payload, or None when the stream ended between two frames.

        Raises `FrameTooLarge` for an announced size over `limit` bytes, `ProtocolViolation` for a broken length,
        `StreamLost` when the stream ended inside a frame.
        """
        while (header := uvarint.decode(self._buffer, self._at)) is None:
            if not await self._fill(1):
                if self._at < len(self._buffer):
                    raise StreamLost("the stream ended within a frame")
                return None
        size, begin = header
        if size > limit:
            raise FrameTooLarge(size=size, limit=limit)
        head = begin - self._at
        missing = begin + size - len(self._buffer)
        if missing > 0 and not await self._fill(missing):
            raise StreamLost("the stream ended within a frame")
        begin = self._at + head
        self._at = begin + size
        return self._buffer[begin : self._at]

    async def write_frame(self, payload: bytes, *, limit: int) -> None:
        """Send one frame; `FrameTooLarge` (before anything is sent) when it has more than `limit` bytes."""
        await self.write(framing.encode_frame(payload, limit=limit))

    async def close_write(self) -> None:
        """Tell the peer that nothing more comes; reading goes on."""
        if self._is_reset:
            raise StreamLost("the stream was reset")
        try:
            with trio.CancelScope(shield=True):
                await self._muxed.close()  # Yamux closes the writing side
        except LOST as exc:
            raise StreamLost("the stream broke while closing") from exc

    async def close(self) -> None:
        """End the stream from our side: what was written arrives, what still comes is dropped. Never raises."""
        if self._is_reset:
            return
        with shielded(limits.CLOSE_SECONDS) as scope:
            try:
                await self._net.close()
            except LOST:
                scope.cancel()

    def hand_over(self) -> None:
        """Leave the stream open when its handler returns: something else lives on it now (`Host.adopt_circuit`)."""
        self.handed_over = True

    async def reset(self) -> None:
        """End the stream at once in both directions; what is on its way may be lost. Never raises."""
        self._is_reset = True
        with shielded(limits.CLOSE_SECONDS) as scope:
            try:
                await self._net.reset()
            except LOST:
                scope.cancel()

    async def _fill(self, missing: int) -> bool:
        """Buffer at least `missing` bytes more; False when the stream ended before. What came is kept if cancelled."""
        parts = [self._buffer[self._at :]]
        try:
            while missing > 0:
                more = await self._receive(core_limits.FRAME_READ_BUFFER_BYTES)
                if not more:
                    return False
                parts.append(more)
                missing -= len(more)
        finally:
            self._buffer, self._at = b"".join(parts), 0
        return True

    async def _receive(self, max_bytes: int) -> bytes:
        if self._is_reset:
            raise StreamLost("the stream was reset")
        if self._ended:
            return b""
        try:
            return await self._muxed.read(max_bytes)
        except MuxedStreamEOF:
            self._ended = True
            return b""
        except LOST as exc:
            raise StreamLost("the stream or its connection was lost") from exc


def wrapped(net: Any, protocol: str) -> Stream:
    """Return libp2p's stream, on which `protocol` was agreed, as one of ours."""
    connection: Any = net.swarm_conn
    return Stream(
        net,
        peer=connection.peer,
        remote_addr=str(connection.remote),
        relayed=connection.relayed,
        protocol=protocol,
    )
