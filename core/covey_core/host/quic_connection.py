"""One QUIC connection as libp2p's muxed connection: its timers, its proof, its end.

Owns: the moments at which aioquic's state machine is given time and asked for datagrams. Spec: RFC 9000; libp2p specs,
quic; docs/spec/host.md. Never touches: the socket (`transmit` does), the table of streams (quic_streams.py), admission.
"""

import math
from collections.abc import Callable
from typing import Any, Final, Protocol

import trio
from aioquic.quic import events
from libp2p.abc import IMuxedConn, IMuxedStream
from libp2p.connection_types import ConnectionType
from libp2p.peer.id import ID
from libp2p.stream_muxer.exceptions import MuxedStreamError
from libp2p.transport.exceptions import SecurityUpgradeFailure
from multiaddr import Multiaddr

from covey_core.errors import ProtocolViolation
from covey_core.host import limits
from covey_core.host.contained import Contained, kind_of
from covey_core.host.quic_engine import Engine
from covey_core.host.quic_liveness import QuicLiveness
from covey_core.host.quic_stream import QuicMuxedStream
from covey_core.host.quic_streams import QuicStreams
from covey_core.host.quic_tls import peer_of

_TIMER_SLACK_SECONDS: Final = 0.0001
"""How late aioquic's timer is answered: at the very moment, its sums may say by a rounding error that it is too early,
and name the same moment again, for ever under a clock that stands still meanwhile."""

Place = tuple[Any, ...]
"""A socket's address: (ip, port), and two more for IPv6."""


class OnCid(Protocol):
    """Hears of the connection ids by which the peer may name us."""

    def __call__(self, cid: bytes, *, is_new: bool) -> None:
        """A new one, or one that is over."""


def _ignore(cid: bytes, *, is_new: bool) -> None:
    del cid, is_new


class QuicMuxed(IMuxedConn):
    """One connection. `run` must run from the first packet to the end; `start` begins when it is in the table."""

    def __init__(
        self,
        engine: Engine,
        remote: Multiaddr,
        pair: tuple[str, int],
        *,
        is_initiator: bool,
        from_listen_port: bool,
        transmit: Callable[[bytes, Place], OSError | None],
        liveness_interval_seconds: float,
        liveness_timeout_seconds: float,
    ) -> None:
        self.peer_id: ID = ID(b"")
        self.remote: Final = remote
        self.remote_pair: Final = pair
        self.from_listen_port: Final = from_listen_port
        self._table: Final = QuicStreams(self, engine, is_initiator=is_initiator)
        self.streams: Final = self._table.open
        self.stream_backlog_semaphore: Final = self._table.places
        self.event_started = trio.Event()
        self.event_shutting_down: Final = trio.Event()
        self.event_closed: Final = trio.Event()
        self.on_cid: OnCid = _ignore
        self.last_words: tuple[bytes, Place] = b"", ()
        """The last datagram that was sent, and where to: after the end, what says that it has ended."""
        self.on_settled: Callable[[], None] = lambda: None
        self._engine: Final = engine
        self._is_initiator: Final = is_initiator
        self._transmit: Final = transmit
        self._liveness: Final = QuicLiveness(
            self._send_ping, interval_seconds=liveness_interval_seconds, timeout_seconds=liveness_timeout_seconds
        )
        self._proven = trio.Event()
        self._failure: Exception | None = None
        self._rearm = trio.Event()
        self._armed_until = math.inf

    # --- packets --------------------------------------------------------------------------------------------------

    def receive(self, datagram: bytes, place: Place) -> None:
        """Take one datagram; `pump` must follow. What it holds can end this connection, and nothing else."""
        with Contained() as outcome:
            self._engine.receive_datagram(datagram, place, trio.current_time())
        if outcome.error is not None:
            self._end(outcome.error)

    def pump(self) -> None:
        """Tell the streams what came, send what is due, set the timer."""
        if self.event_closed.is_set():
            return
        with Contained() as outcome:
            self._tell()
            unreachable: OSError | None = None
            for datagram, place in self._engine.datagrams_to_send(trio.current_time()):
                unreachable = self._transmit(datagram, place) or unreachable
                self.last_words = datagram, place
            if self._engine.is_ending:
                self._end(None)
                return
            if unreachable is not None and not self._proven.is_set():
                raise unreachable
            due = self._engine.get_timer()
            if due is not None and due < self._armed_until:
                self._rearm.set()
            self._table.wake_writers()
        if outcome.error is not None:
            self._end(outcome.error)

    async def run(self) -> None:
        """Give the state machine its time until the connection has ended."""
        while not self.event_closed.is_set():
            due = self._engine.get_timer()
            self._armed_until = math.inf if due is None else due
            self._rearm = trio.Event()
            with trio.move_on_at(self._armed_until + _TIMER_SLACK_SECONDS) as scope:
                await self._rearm.wait()
            if scope.cancelled_caught:
                with Contained() as outcome:
                    self._engine.handle_timer(trio.current_time())
                if outcome.error is not None:
                    self._end(outcome.error)
                self.pump()

    def _tell(self) -> None:
        while (event := self._engine.next_event()) is not None:
            match event:
                case events.StreamDataReceived() | events.StreamReset() | events.StopSendingReceived():
                    self._table.tell(event)
                case events.HandshakeCompleted():
                    self._prove()
                case events.ConnectionIdIssued(connection_id=cid):
                    self.on_cid(cid, is_new=True)
                case events.ConnectionIdRetired(connection_id=cid):
                    self.on_cid(cid, is_new=False)
                case events.PingAcknowledged(uid=number):
                    self._liveness.answered(number)
                case _:
                    pass

    # --- proof ----------------------------------------------------------------------------------------------------

    def _prove(self) -> None:
        certificate, further = self._engine.peer_certificate
        try:
            self.peer_id = peer_of(certificate, further=further)
        except ProtocolViolation as exc:
            self._failure = SecurityUpgradeFailure(str(exc))
            self._engine.close(error_code=limits.QUIC_BAD_CERTIFICATE)
            return
        self._proven.set()
        self.on_settled()

    async def proven(self) -> ID:
        """Return the peer's proven PeerId when the handshake is over; raises when it fails. The caller's deadline."""
        await self._proven.wait()
        if self.peer_id == ID(b"") or self.event_closed.is_set():
            raise self._failure or SecurityUpgradeFailure(self._engine.end_reason)
        return self.peer_id

    # --- for streams ----------------------------------------------------------------------------------------------

    def send(self, stream_id: int, data: bytes) -> None:
        """Have aioquic send bytes of a stream; `MuxedStreamError` when it does not."""
        with Contained() as outcome:
            self._engine.send_stream_data(stream_id, data)
            self.pump()
            return
        raise MuxedStreamError("the stream is closed for sending") from outcome.error

    def unsent(self, stream_id: int) -> int:
        """Return the bytes of a stream that the peer has not acknowledged."""
        return self._engine.unsent(stream_id)

    def finish(self, stream_id: int) -> None:
        """End a stream's sending side."""
        if not self.event_closed.is_set() and self._engine.knows(stream_id):
            self._engine.send_stream_data(stream_id, b"", end_stream=True)
            self.pump()

    def abort(self, stream_id: int) -> None:
        """End a stream in both directions."""
        if not self.event_closed.is_set():
            self._engine.abort(stream_id)
            self.pump()

    def consumed(self, stream: QuicMuxedStream, size: int) -> None:
        """Open the windows for what was read or dropped."""
        if self._engine.consumed(stream.stream_id, stream.consumed, size) and not self.event_closed.is_set():
            self.pump()

    # --- libp2p's muxed connection --------------------------------------------------------------------------------

    async def start(self) -> None:
        """Probe the peer until the connection ends."""
        self.event_started.set()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._table.sweep)
            nursery.start_soon(self._watch)
            await self.event_closed.wait()
            nursery.cancel_scope.cancel()

    async def open_stream(self) -> IMuxedStream:
        """Open a stream; `MuxedConnUnavailable` when the connection has ended or the peer allows no more."""
        await trio.lowlevel.checkpoint_if_cancelled()
        return self._table.begin()

    async def accept_stream(self) -> IMuxedStream:
        """Return the next stream that the peer opened; `MuxedConnUnavailable` when the connection has ended."""
        return await self._table.next_accepted()

    def doubt(self) -> None:
        """Probe the peer now: somebody waited for it in vain."""
        self._liveness.doubt()

    def rtt(self) -> float:
        """Return the seconds of the last probe, 0.0 before the first."""
        return self._liveness.rtt_seconds

    async def _watch(self) -> None:
        await self._liveness.run()
        self.hang_up()

    def _send_ping(self, number: int) -> None:
        self._engine.send_ping(number)
        self.pump()

    async def close(self) -> None:
        """Say good-bye with one datagram and end the connection; whoever waits on its streams gets a reset."""
        self.hang_up()
        await trio.lowlevel.cancel_shielded_checkpoint()

    def hang_up(self, error_code: int = 0) -> None:
        """Close at once, waiting for nothing."""
        if not self.event_closed.is_set():
            self._engine.close(error_code=error_code)
            self.pump()
            self._end(None)

    def _end(self, error: Exception | None) -> None:
        if self.event_closed.is_set():
            return
        if error is not None and self._failure is None:
            self._failure = error if isinstance(error, OSError) else SecurityUpgradeFailure(kind_of(error))
        self.event_shutting_down.set()
        self.event_closed.set()
        self.on_settled()
        self._table.end()
        self._proven.set()
        self._rearm.set()

    @property
    def is_initiator(self) -> bool:
        """Whether we dialed."""
        return self._is_initiator

    @property
    def is_established(self) -> bool:
        """Whether it can be used."""
        return self.event_started.is_set() and not self.event_closed.is_set()

    @property
    def is_closed(self) -> bool:
        """Whether it has ended."""
        return self.event_closed.is_set()

    def get_transport_addresses(self) -> list[Multiaddr]:
        """Return where the peer is."""
        return [self.remote]

    def get_connection_type(self) -> ConnectionType:
        """Return that no relay is between."""
        return ConnectionType.DIRECT
