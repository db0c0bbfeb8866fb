"""Streams of py-libp2p's Yamux with bounded buffers, writes that wait without polling, and fewer window updates.

Owns: what a stream does with its windows, and the tables that make upstream use these streams. Spec: hashicorp yamux
spec ("Flow Control"); docs/adr/0003. Never touches: the connection's reader and writer.
"""

import struct
from typing import Any, Final, SupportsIndex

import trio
from libp2p.connection_types import ConnectionType
from libp2p.stream_muxer.exceptions import MuxedStreamEOF, MuxedStreamError, MuxedStreamReset
from libp2p.stream_muxer.yamux.yamux import (
    HEADER_SIZE,
    TYPE_DATA,
    TYPE_WINDOW_UPDATE,
    YAMUX_HEADER_FORMAT,
    YamuxStream,
)

from covey_core.host import limits

_NOISE_PLAINTEXT_BYTES: Final = 65_535 - 16
"""What one Noise message carries: 65,535 bytes with its tag (noise spec, section 3)."""
_FRAME_BYTES: Final = _NOISE_PLAINTEXT_BYTES - HEADER_SIZE
"""A frame that fills one Noise message and no second one."""
_RELAYED_FRAME_BYTES: Final = _FRAME_BYTES - 2 - 16 - HEADER_SIZE
"""The same inside a circuit, whose Noise message, with length and tag, must fit one frame of the outer connection."""
_UNKNOWN_RTT_SECONDS: Final = 0.05


class WindowExceeded(trio.TooSlowError):
    """A peer sent past its window. A kind of TooSlowError since that is what makes upstream close the connection."""


class BoundedBuffer(bytearray):
    """What one stream has received and nobody has read yet.

    Upstream keeps whatever a peer sends past its window and only logs it: one stream filled the memory.
    """

    is_abandoned = False

    def abandon(self) -> None:
        """Drop what is here and whatever still comes."""
        self.is_abandoned = True
        self.clear()

    def extend(self, data: Any, /) -> None:
        """Take received bytes, or raise `WindowExceeded`."""
        if self.is_abandoned:
            return
        if len(self) + len(data) > limits.STREAM_BUFFER_BYTES:
            raise WindowExceeded
        super().extend(data)


class HardenedStream(YamuxStream):
    """One stream. Made from upstream's by `StreamTable`."""

    abandoned_at: float | None
    _credit: int
    _changed: trio.Event
    _is_closed: bool

    def harden(self) -> None:
        """Take over the state of the upstream stream that this was."""
        self._credit = self.__dict__.pop("send_window")
        self._is_closed = self.__dict__.pop("closed")
        self._changed = trio.Event()
        self.abandoned_at = None

    def abandon(self) -> None:
        """Nobody reads this stream any more: what comes is dropped, and in a while it is reset."""
        self.abandoned_at = trio.current_time()
        buffer = self.conn.stream_buffers.get(self.stream_id)
        if isinstance(buffer, BoundedBuffer):
            buffer.abandon()

    @property
    def send_window(self) -> int:
        """Bytes that the peer still takes."""
        return self._credit

    @send_window.setter
    def send_window(self, value: int) -> None:
        grown = value > self._credit
        self._credit = value
        if grown:
            self._wake()

    @property
    def closed(self) -> bool:
        """Whether both directions are over."""
        return self._is_closed

    @closed.setter
    def closed(self, value: bool) -> None:
        self._is_closed = value
        if value:
            self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def read(self, n: int | None = -1) -> bytes:
        """Return up to `n` bytes as soon as there are some; `MuxedStreamEOF` at the peer's end, or `MuxedStreamReset`.

        Upstream reports a reset or a lost connection as an end to whoever is waiting, and takes two locks a read.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        conn = self.conn
        while not self.reset_received and not conn.event_shutting_down.is_set():
            buffer = conn.stream_buffers.get(self.stream_id)
            if buffer:
                size = len(buffer) if n is None or n < 0 else n
                data = bytes(buffer[:size])
                del buffer[:size]
                if self._is_closed and not buffer:
                    conn._finalize_stream_locked(self, fully_closed=True)  # noqa: SLF001 - no await between: no lock
                await self._auto_tune_and_send_window_update(bytes_read=len(data))
                return data
            event = conn.stream_events.get(self.stream_id)
            if self.recv_closed or event is None:
                raise MuxedStreamEOF("the peer ended the stream")
            await event.wait()
            if self.stream_id in conn.stream_events:
                conn.stream_events[self.stream_id] = trio.Event()
        raise MuxedStreamReset("the stream was reset or its connection lost")

    async def write(self, data: bytes) -> None:
        """Send all of `data`, waiting as long as the peer's window is shut.

        Upstream asks the window every 10 ms and gives the stream up after 5 s: a receiver that pauses lost its stream.
        """
        sent = 0
        relayed = self.conn.get_connection_type() is ConnectionType.RELAYED
        frame_bytes = _RELAYED_FRAME_BYTES if relayed else _FRAME_BYTES
        while sent < len(data):
            if self.send_closed or self._is_closed:
                raise MuxedStreamError("the stream is closed for sending")
            if self._credit <= 0:
                await self._changed.wait()
                continue
            chunk = data[sent : sent + min(self._credit, frame_bytes)]
            self._credit -= len(chunk)
            header = struct.pack(YAMUX_HEADER_FORMAT, 0, TYPE_DATA, 0, self.stream_id, len(chunk))
            await self.conn._write_frame(header + chunk)  # noqa: SLF001 - upstream's own streams do the same
            sent += len(chunk)

    async def _auto_tune_and_send_window_update(self, *, bytes_read: int = 0) -> None:
        """Give the peer new window when half of it has been read; while the window is the brake it doubles, to 1 MiB.

        Upstream sends an update for every read, however small, and loses the bytes just read when that is cancelled.
        """
        self._pending_recv_release += bytes_read
        if self._pending_recv_release * 2 < self.target_recv_window or self.recv_closed:
            return
        increment, self._pending_recv_release = self._pending_recv_release, 0
        now = trio.current_time()
        if self.epoch_start and now - self.epoch_start < 4 * (self.conn.rtt() or _UNKNOWN_RTT_SECONDS):
            grown = min(2 * self.target_recv_window, limits.STREAM_WINDOW_BYTES) - self.target_recv_window
            self.target_recv_window += grown
            increment += grown
        self.epoch_start = now
        self.recv_window += increment
        frame = struct.pack(YAMUX_HEADER_FORMAT, 0, TYPE_WINDOW_UPDATE, 0, self.stream_id, increment)
        with trio.CancelScope(shield=True):
            await self.conn._write_frame(frame)  # noqa: SLF001


class StreamTable(dict[int, YamuxStream]):
    """Upstream's table of streams: whatever it creates and puts in becomes a `HardenedStream`."""

    def __setitem__(self, stream_id: int, stream: YamuxStream) -> None:
        if not isinstance(stream, HardenedStream):
            stream.__class__ = HardenedStream
            stream.harden()  # type: ignore[attr-defined]
        super().__setitem__(stream_id, stream)


class BufferTable(dict[int, bytearray]):
    """Upstream's table of receive buffers: each is bounded."""

    def __setitem__(self, stream_id: SupportsIndex, buffer: bytearray) -> None:
        super().__setitem__(int(stream_id), BoundedBuffer(buffer))
