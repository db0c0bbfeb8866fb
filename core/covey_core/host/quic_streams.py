"""The streams of a QUIC connection: which are open, which wait to be accepted, what came for each.

Owns: the table of streams, and how many of ours may be open. Spec: RFC 9000, 2 to 4; docs/spec/host.md.
Never touches: packets (quic_engine.py), what a stream holds (quic_stream.py).
"""

from collections import deque
from typing import TYPE_CHECKING, Final

import trio
from aioquic.quic import events
from libp2p.stream_muxer.exceptions import MuxedConnUnavailable

from covey_core.host import limits
from covey_core.host.quic_engine import Engine
from covey_core.host.quic_stream import QuicMuxedStream

if TYPE_CHECKING:
    from covey_core.host.quic_connection import QuicMuxed

StreamEvent = events.StreamDataReceived | events.StreamReset | events.StopSendingReceived


class QuicStreams:
    """The table of one connection."""

    def __init__(self, connection: "QuicMuxed", engine: Engine, *, is_initiator: bool) -> None:
        self.open: Final[dict[int, QuicMuxedStream]] = {}
        self.places: Final = trio.Semaphore(limits.OUTBOUND_STREAMS_PER_CONNECTION)
        self._connection: Final = connection
        self._engine: Final = engine
        self._is_initiator: Final = is_initiator
        self._accepted: deque[QuicMuxedStream] = deque()
        self._arrival = trio.Event()
        self._ended = False

    # --- what the connection tells --------------------------------------------------------------------------------

    def tell(self, event: StreamEvent) -> None:
        """Hand what came to its stream, which may be a new one of the peer's."""
        number = event.stream_id
        stream = self._stream_of(number)
        match event:
            case events.StreamDataReceived(data=data) if stream is None:
                self._engine.consumed(number, 0, len(data))
            case _ if stream is None:
                pass
            case events.StreamDataReceived(data=data, end_stream=ended):
                stream.take(data, ended=ended)
            case events.StreamReset():
                stream.break_off()
                stream.count(self._engine.received(number) - stream.consumed)  # sent, and lost on the way
                self._engine.abort(number)
            case events.StopSendingReceived():
                stream.refuse_writes()

    def wake_writers(self) -> None:
        """After datagrams were sent: let those write on who have room, forget streams that are over."""
        for stream in list(self.open.values()):
            number = stream.stream_id
            if stream.awaits_room and self._engine.unsent(number) <= limits.QUIC_SEND_BUFFER_BYTES // 2:
                stream.wake_writer()
            if not self._engine.knows(number):
                self._forget(stream)

    def end(self) -> None:
        """The connection has ended: whoever waits on a stream gets a reset, whoever waits for one an error."""
        self._ended = True
        for stream in list(self.open.values()):
            stream.break_off()
        self.open.clear()
        self._arrival.set()

    # --- for libp2p -----------------------------------------------------------------------------------------------

    def begin(self) -> QuicMuxedStream:
        """Open a stream; `MuxedConnUnavailable` when the connection has ended or the peer allows no more."""
        if self._ended or not self._engine.may_open():
            raise MuxedConnUnavailable("the connection is closed, or all streams that the peer allows are open")
        self.places.acquire_nowait()
        number = self._engine.get_next_available_stream_id()
        self._engine.send_stream_data(number, b"")
        stream = self.open[number] = QuicMuxedStream(self._connection, number)
        return stream

    async def next_accepted(self) -> QuicMuxedStream:
        """Return the next stream that the peer opened; `MuxedConnUnavailable` when the connection has ended."""
        while not self._accepted:
            if self._ended:
                raise MuxedConnUnavailable("the connection is closed")
            self._arrival = trio.Event()
            await self._arrival.wait()
        return self._accepted.popleft()

    async def sweep(self) -> None:
        """Reset streams that nobody reads and the peer does not end, from time to time."""
        while True:
            await trio.sleep(limits.LINGER_SECONDS)
            latest = trio.current_time() - limits.LINGER_SECONDS
            for stream in list(self.open.values()):
                if stream.abandoned_at is not None and stream.abandoned_at <= latest:
                    await stream.reset()

    def _stream_of(self, number: int) -> QuicMuxedStream | None:
        found = self.open.get(number)
        if found is None and not self._is_ours(number) and self._engine.knows(number):
            found = self.open[number] = QuicMuxedStream(self._connection, number)
            self._accepted.append(found)
            self._arrival.set()
        return found

    def _forget(self, stream: QuicMuxedStream) -> None:
        if self.open.pop(stream.stream_id, None) is not None and self._is_ours(stream.stream_id):
            self.places.release()

    def _is_ours(self, number: int) -> bool:
        return (number % 2 == 0) == self._is_initiator
