"""One stream of a QUIC connection, as libp2p's muxed stream: reads and writes that wait, half-close, reset.

Owns: what has come and was not read yet. Spec: RFC 9000, 2 and 3; docs/spec/host.md.
Never touches: packets, the other streams.
"""

from typing import TYPE_CHECKING, Any, Final, Self

import trio
from libp2p.abc import IMuxedStream
from libp2p.stream_muxer.exceptions import MuxedStreamEOF, MuxedStreamError, MuxedStreamReset

from covey_core.host import limits

if TYPE_CHECKING:
    from covey_core.host.quic_connection import QuicMuxed


class QuicMuxedStream(IMuxedStream):
    """One bidirectional stream. One task reads and one writes at a time."""

    def __init__(self, conn: "QuicMuxed", stream_id: int) -> None:
        self.muxed_conn: Any = conn
        self.stream_id: Final = stream_id
        self.abandoned_at: float | None = None
        self.closed_for_writing = False
        self.is_reset = False
        self.consumed = 0
        self._conn: Final = conn
        self._buffer = bytearray()
        self._ended = False
        self._readable = trio.Event()
        self._writable = trio.Event()

    # --- what the connection tells --------------------------------------------------------------------------------

    def take(self, data: bytes, *, ended: bool) -> None:
        """Take bytes that came in order, and the peer's end."""
        self._ended = self._ended or ended
        if self.abandoned_at is None and not self.is_reset:
            self._buffer += data
            self._wake_reader()
        else:
            self.count(len(data))

    def break_off(self) -> None:
        """The stream is over in both directions, at once: reset by either side, or its connection lost."""
        self.is_reset = True
        self._drop()
        self._wake_reader()
        self.wake_writer()

    def refuse_writes(self) -> None:
        """The peer wants no more of what we write."""
        self.closed_for_writing = True
        self.wake_writer()

    def wake_writer(self) -> None:
        """Have a waiting writer look again."""
        self._writable.set()
        self._writable = trio.Event()

    @property
    def awaits_room(self) -> bool:
        """Whether a writer waits."""
        return self._writable.statistics().tasks_waiting > 0

    def count(self, size: int) -> None:
        """Open the windows for bytes that were read, or dropped."""
        if size > 0:
            self.consumed += size
            self._conn.consumed(self, size)

    # --- libp2p's muxed stream --------------------------------------------------------------------------------------

    async def read(self, n: int | None = None) -> bytes:
        """Return up to `n` bytes once there are some; `MuxedStreamEOF` at the peer's end, or `MuxedStreamReset`."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._buffer:
            if self.is_reset:
                raise MuxedStreamReset("the stream was reset or its connection lost")
            if self._ended:
                raise MuxedStreamEOF("the peer ended the stream")
            self._readable = trio.Event()
            await self._readable.wait()
        size = len(self._buffer) if n is None or n < 0 else min(n, len(self._buffer))
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        self.count(size)
        return data

    async def write(self, data: bytes) -> None:
        """Send all of `data`, waiting as long as the peer does not take it: half a MiB may be on its way."""
        await trio.lowlevel.checkpoint_if_cancelled()
        sent = 0
        while sent < len(data):
            if self.is_reset:
                raise MuxedStreamReset("the stream was reset or its connection lost")
            if self.closed_for_writing:
                raise MuxedStreamError("the stream is closed for sending")
            room = limits.QUIC_SEND_BUFFER_BYTES - self._conn.unsent(self.stream_id)
            if room <= 0:
                await self._writable.wait()
                continue
            self._conn.send(self.stream_id, data[sent : sent + room])
            sent += room
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def close(self) -> None:
        """End our side: what was written arrives; reading goes on."""
        if not (self.is_reset or self.closed_for_writing):
            self.closed_for_writing = True
            self._conn.finish(self.stream_id)
            self.wake_writer()
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def reset(self) -> None:
        """End both directions at once."""
        if not self.is_reset:
            self.break_off()
            self._conn.abort(self.stream_id)
        await trio.lowlevel.cancel_shielded_checkpoint()

    def abandon(self) -> None:
        """Nobody reads this stream any more: what comes is dropped, and in a while it is reset."""
        if self.abandoned_at is None:
            self.abandoned_at = trio.current_time()
            self._drop()

    def set_deadline(self, ttl: int) -> None:
        """Nothing: deadlines are the callers'."""

    def get_remote_address(self) -> tuple[str, int] | None:
        """Return the peer's IP and port."""
        return self._conn.remote_pair

    async def __aenter__(self) -> Self:
        """Use the stream for a block, which closes it."""
        return self

    def _drop(self) -> None:
        size = len(self._buffer)
        self._buffer.clear()
        self.count(size)

    def _wake_reader(self) -> None:
        self._readable.set()
