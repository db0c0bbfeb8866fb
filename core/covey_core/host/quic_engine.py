"""aioquic's state machine of one connection, with what it lacks: a reader that can hold the sender back, mutual proof.

Owns: the work-arounds of docs/adr/0050, each a method named after what it mends; everything that knows aioquic's
private names stands here. Spec: RFC 9000; docs/spec/host.md. Never touches: sockets, trio, streams' buffers.
"""

from typing import Any, Final

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection, QuicConnectionState
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.quic.recovery import QuicPacketSpace
from aioquic.quic.stream import QuicStream
from cryptography import x509

from covey_core.host import limits

_CRYPTO_ERROR: Final = 0x100
_CRYPTO_ERROR_END: Final = 0x200


class Engine(QuicConnection):
    """One connection's packets. Time is an argument; `next_event` tells what came."""

    def __init__(self, *, configuration: QuicConfiguration, **rest: Any) -> None:
        super().__init__(configuration=configuration, **rest)
        self._local_max_streams_bidi.value = self._local_max_streams_bidi.sent = limits.INBOUND_STREAMS_PER_CONNECTION
        self._local_max_streams_uni.value = self._local_max_streams_uni.sent = 0  # libp2p has none
        self._consumed = 0

    # --- proof ----------------------------------------------------------------------------------------------------

    def _initialize(self, peer_cid: bytes) -> None:
        """Ask the client for its certificate: libp2p proves both sides, aioquic's server asks nobody."""
        super()._initialize(peer_cid)
        self.tls._request_client_certificate = not self._is_client  # noqa: SLF001

    @property
    def peer_certificate(self) -> tuple[x509.Certificate | None, int]:
        """The peer's certificate, if it showed one, and how many came beside it."""
        return self.tls._peer_certificate, len(self.tls._peer_certificate_chain)  # noqa: SLF001

    def _probe_preferred_address(self) -> None:
        """Nothing: a server may name any machine there, and upstream sends packets to it."""

    # --- windows --------------------------------------------------------------------------------------------------

    def _write_connection_limits(self, builder: QuicPacketBuilder, space: QuicPacketSpace) -> None:
        """Tell the peer the window that we set. Upstream doubles it with what comes, whether anybody reads or not."""
        limit = self._local_max_data
        used, limit.used = limit.used, 0
        try:
            super()._write_connection_limits(builder, space)
        finally:
            limit.used = used

    def _write_stream_limits(self, builder: QuicPacketBuilder, space: QuicPacketSpace, stream: QuicStream) -> None:
        """Tell the peer a stream's window that we set; as above."""
        if stream.max_stream_data_local_sent == stream.max_stream_data_local:
            return
        receiver = stream.receiver
        highest, receiver.highest_offset = receiver.highest_offset, 0
        try:
            super()._write_stream_limits(builder, space, stream)
        finally:
            receiver.highest_offset = highest

    def consumed(self, stream_id: int, of_stream: int, size: int) -> bool:
        """Open the windows after `size` more bytes were read, `of_stream` in all; True when the peer must be told."""
        self._consumed += size
        grown = False
        stream = self._streams.get(stream_id)
        if stream is not None and not stream.receiver.is_finished:
            window = _window(of_stream, limits.QUIC_FIRST_STREAM_WINDOW_BYTES, limits.STREAM_WINDOW_BYTES)
            if stream.max_stream_data_local - of_stream <= window // 2:
                stream.max_stream_data_local = of_stream + window
                grown = True
        window = _window(self._consumed, limits.QUIC_FIRST_CONNECTION_WINDOW_BYTES, limits.QUIC_CONNECTION_WINDOW_BYTES)
        limit = self._local_max_data
        if limit.value - self._consumed <= window // 2:
            limit.value = self._consumed + window
            grown = True
        return grown

    def received(self, stream_id: int) -> int:
        """Return how many bytes of a stream count against the connection's window, as far as it is known."""
        stream = self._streams.get(stream_id)
        return 0 if stream is None else stream.receiver.highest_offset

    def abort(self, stream_id: int) -> None:
        """Reset a stream's sending side, and ask the peer to end its own where it has not."""
        stream = self._streams.get(stream_id)
        if stream is not None:
            self.reset_stream(stream_id, 0)
            if not stream.receiver.is_finished:
                self.stop_stream(stream_id, 0)

    def unsent(self, stream_id: int) -> int:
        """Return the bytes of a stream that the peer has not acknowledged: aioquic keeps any number of them."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return 0
        return stream.sender._buffer_stop - stream.sender._buffer_start  # noqa: SLF001

    def knows(self, stream_id: int) -> bool:
        """Whether a stream is not over in both directions yet."""
        return stream_id in self._streams

    def may_open(self) -> bool:
        """Whether the peer lets us open one more stream now."""
        return self.get_next_available_stream_id() // 4 < self._remote_max_streams_bidi

    # --- ends -----------------------------------------------------------------------------------------------------

    @property
    def has_begun(self) -> bool:
        """Whether one packet of the peer made sense."""
        return self._state is not QuicConnectionState.FIRSTFLIGHT

    @property
    def is_ending(self) -> bool:
        """Whether one side has ended the connection. Upstream tells of it three probe timeouts later."""
        return self._close_event is not None

    @property
    def end_reason(self) -> str:
        """Why it ended, by the code alone: the peer's own words may hold anything."""
        if self._close_event is None:
            return "the connection was lost"
        code = self._close_event.error_code
        if _CRYPTO_ERROR <= code < _CRYPTO_ERROR_END:
            return f"no agreement in the handshake (TLS alert {code - _CRYPTO_ERROR})"
        return "the peer closed the connection" if code == 0 else f"the connection was closed (QUIC error {code:#x})"


def _window(consumed: int, first: int, most: int) -> int:
    """Return the window after so many bytes were read: it grows with them, so that nobody gets much at once."""
    return min(max(first, 2 * consumed), most)
