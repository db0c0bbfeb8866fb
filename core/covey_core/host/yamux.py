"""py-libp2p's Yamux with what it lacks: a liveness probe that closes dead connections, and writes that cannot be torn.

Owns: the work-arounds of docs/adr/0003, each a method named after what it mends. Spec: hashicorp yamux spec, libp2p
specs yamux. Never touches: sockets (the Noise session below does), protocols above.
"""

import struct
from typing import Final

import trio
from libp2p.abc import ISecureConn
from libp2p.peer.id import ID
from libp2p.stream_muxer.yamux.yamux import (
    FLAG_SYN,
    GO_AWAY_NORMAL,
    TYPE_GO_AWAY,
    TYPE_PING,
    YAMUX_HEADER_FORMAT,
    Yamux,
    YamuxStream,
)

from covey_core.host import limits
from covey_core.host.contained import Contained, shielded
from covey_core.host.yamux_stream import BufferTable, HardenedStream, StreamTable, WindowExceeded

_PING_IDS: Final = 1 << 32


class HardenedYamux(Yamux):
    """One multiplexed connection."""

    def __init__(
        self,
        secured_conn: ISecureConn,
        peer_id: ID,
        *,
        liveness_interval_seconds: float,
        liveness_timeout_seconds: float,
    ) -> None:
        super().__init__(secured_conn, peer_id)
        self.streams = StreamTable()
        self.stream_buffers = BufferTable()
        self._liveness_interval_seconds = liveness_interval_seconds
        self._liveness_timeout_seconds = liveness_timeout_seconds
        self._doubted = trio.Event()
        self.suspect = False
        """Somebody waited for the peer in vain, and it has not answered since."""

    def doubt(self) -> None:
        """Probe the peer now: somebody waited for it in vain."""
        self.suspect = True
        self._doubted.set()

    async def _measure_rtt_loop(self) -> None:
        """Probe the peer and close the connection when it does not answer.

        Upstream sends the same ping every 30 s and ignores a missing answer: a SIGSTOPped peer was not noticed in 75 s.
        """
        while True:
            with trio.move_on_after(self._liveness_interval_seconds):
                await self._doubted.wait()
            self._doubted = trio.Event()
            if not await self._answers():
                break
        await self.close_abruptly()

    async def _answers(self) -> bool:
        self._ping_id = (self._ping_id + 1) % _PING_IDS
        self._ping_event = trio.Event()
        self._ping_sent_time = trio.current_time()
        with trio.move_on_after(self._liveness_timeout_seconds), Contained():
            await self._write_frame(struct.pack(YAMUX_HEADER_FORMAT, 0, TYPE_PING, FLAG_SYN, 0, self._ping_id))
            await self._ping_event.wait()
            self.suspect = False
            return True
        return False

    async def _write_frame(self, data: bytes) -> None:
        """Write a whole frame or end the connection.

        Upstream's write can be cancelled between two TCP segments: the Noise stream is then out of step and every other
        stream of the connection is lost with it.
        """
        async with self._write_lock:
            with shielded(limits.WRITE_STALL_SECONDS) as scope:
                await self.secured_conn.write(data)
        if scope.cancelled_caught:
            await self.close_abruptly()

    async def _stale_stream_sweeper(self) -> None:
        """Reset streams that nobody reads and the peer does not end; upstream keeps them with the connection."""
        while True:
            await trio.sleep(limits.LINGER_SECONDS)
            await self.reset_abandoned()
            async with self.streams_lock:
                self._sweep_stale_streams()

    async def reset_abandoned(self) -> None:
        """Reset the streams that were closed on our side 30 s ago and not on theirs."""
        latest = trio.current_time() - limits.LINGER_SECONDS
        for stream in list(self.streams.values()):
            left = stream.abandoned_at if isinstance(stream, HardenedStream) else None
            if left is not None and left <= latest:
                with Contained():
                    await stream.reset()

    def _finalize_stream_locked(self, stream: YamuxStream, *, fully_closed: bool) -> None:
        """Drop a reset stream's bytes with it: nobody can read them, and upstream keeps them for 60 to 90 s."""
        if stream.reset_received:
            self.stream_buffers.pop(stream.stream_id, None)
        super()._finalize_stream_locked(stream, fully_closed=fully_closed)

    async def _read_data_body(self, length: int) -> bytes:
        """Read a frame's bytes; upstream collects up to 16 MiB before it looks at the window."""
        if length > limits.STREAM_BUFFER_BYTES:
            raise WindowExceeded
        return await super()._read_data_body(length)

    async def close(self, error_code: int = GO_AWAY_NORMAL) -> None:
        """Say good-bye where the socket takes it within a second, then close; upstream waits for the write lock."""
        with trio.CancelScope(shield=True):
            if not self.event_shutting_down.is_set():
                with trio.move_on_after(limits.CLOSE_SECONDS), Contained():
                    async with self._write_lock:
                        await self.secured_conn.write(
                            struct.pack(YAMUX_HEADER_FORMAT, 0, TYPE_GO_AWAY, 0, 0, error_code)
                        )
            await self.close_abruptly()

    async def close_abruptly(self) -> None:
        """End the connection without a word; whoever waits on one of its streams gets a reset."""
        if not self.event_closed.is_set():
            with trio.CancelScope(shield=True), Contained():
                await self._cleanup_on_error()
