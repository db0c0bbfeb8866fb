"""The stream shell of the relay: RESERVE and CONNECT on the hop protocol, CONNECT to the target on stop.

Owns: the handshakes, their deadlines and statuses, and the circuits that stand. Spec: docs/spec/circuit.md; libp2p
specs, relay/circuit-v2.md. Never touches: who may have what (reservations.py, circuits.py), the bytes of a standing
circuit (junction.py), admission to the network (the host does it before a stream comes here).
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

import structlog
import trio
from multiaddr import Multiaddr

from covey_core.errors import CoveyError, ProtocolViolation, StreamLost, Unreachable
from covey_core.host import Disconnected, Host, Stream
from covey_core.identity import Identity
from covey_core.lifecycle import TaskStatus
from covey_core.peers import PeerId, short
from covey_core.wire import circuit as wire
from covey_core.wire.circuit import STOP_PROTOCOL, HopMessage, HopType, Status, StopMessage, StopType
from covey_relay import limits as bounds
from covey_relay.addresses import ip_in
from covey_relay.circuits import Circuit, CircuitEnd, CircuitRefusal, CircuitRefused, Circuits
from covey_relay.limits import RelayLimits
from covey_relay.metrics import RelayMetrics, ReservationEvent
from covey_relay.net.junction import Junction
from covey_relay.reservations import Granted, Refused, ReservationRefusal, Reservations

_log: Final = structlog.get_logger("covey.relay")

_RESERVATION_STATUS: Final = {
    ReservationRefusal.RELAYED: Status.PERMISSION_DENIED,
    ReservationRefusal.TABLE_FULL: Status.RESERVATION_REFUSED,
    ReservationRefusal.ADDRESS_FULL: Status.RESERVATION_REFUSED,
    ReservationRefusal.DRAINING: Status.RESERVATION_REFUSED,
}

_CIRCUIT_STATUS: Final = {
    CircuitRefusal.RELAYED: Status.PERMISSION_DENIED,
    CircuitRefusal.TO_ITSELF: Status.PERMISSION_DENIED,
    CircuitRefusal.NO_RESERVATION: Status.NO_RESERVATION,
    CircuitRefusal.TABLE_FULL: Status.RESOURCE_LIMIT_EXCEEDED,
    CircuitRefusal.PEER_FULL: Status.RESOURCE_LIMIT_EXCEEDED,
    CircuitRefusal.PAIR_FULL: Status.RESOURCE_LIMIT_EXCEEDED,
    CircuitRefusal.ADDRESS_FULL: Status.RESOURCE_LIMIT_EXCEEDED,
    CircuitRefusal.DRAINING: Status.RESOURCE_LIMIT_EXCEEDED,
    CircuitRefusal.TARGET_FAILED: Status.CONNECTION_FAILED,
}


class Hop:
    """The relay service of one host. `wall_clock` gives Unix seconds, for the times that leave this machine."""

    def __init__(
        self,
        host: Host,
        *,
        identity: Identity,
        limits: RelayLimits,
        metrics: RelayMetrics,
        wall_clock: Callable[[], float] = time.time,
        addrs: Callable[[], Iterable[str]] | None = None,
    ) -> None:
        """`addrs`: where clients reach this relay, when the host's own addresses do not say so."""
        self.reservations: Final = Reservations(limits)
        self.circuits: Final = Circuits(limits)
        self._host = host
        self._identity = identity
        self._metrics = metrics
        self._wall_clock = wall_clock
        self._addrs = addrs or (lambda: host.addrs)
        self._limit = wire.CircuitLimit(duration_seconds=limits.circuit_seconds, data_bytes=limits.circuit_bytes)
        self._standing: dict[Circuit, Junction] = {}
        self._handshakes: Counter[PeerId] = Counter()
        self._emptied: trio.Event | None = None
        metrics.watch_usage(
            reservations=lambda: len(self.reservations) / limits.reservations,
            circuits=lambda: len(self.circuits) / limits.circuits,
        )

    async def watch(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Free the slots of peers as they leave, and slots whose hour is over; runs until cancelled."""
        with self._host.subscribe() as events:
            task_status.started(None)
            while True:
                with trio.move_on_after(bounds.SWEEP_SECONDS):
                    async for event in events:
                        if isinstance(event, Disconnected):
                            self._free_if_gone(event.peer)
                    return  # the host has closed
                self._expire()
                for peer in self.reservations.holders():
                    self._free_if_gone(peer)

    async def close(self) -> None:
        """Refuse everything from now on, end all circuits, and wait for their ends for a short while."""
        self.reservations.drain()
        self.circuits.drain()
        for junction in self._standing.values():
            junction.stop(CircuitEnd.DRAIN)
        if len(self.circuits):
            self._emptied = trio.Event()
            with trio.CancelScope(shield=True, deadline=trio.current_time() + bounds.DRAIN_SECONDS):
                await self._emptied.wait()

    # --- one hop stream -------------------------------------------------------------------------------------------

    async def serve(self, stream: Stream) -> None:
        """Serve one hop stream, from its first message to the end of the circuit that it may become."""
        message = await self._first_message(stream)
        if message is None:
            return
        if message.type is HopType.RESERVE:
            await self._reserve(stream)
        elif message.type is HopType.CONNECT and message.peer is not None:
            await self._connect(stream, message.peer.id)
        else:
            await self._answer(stream, Status.UNEXPECTED_MESSAGE)

    async def _first_message(self, stream: Stream) -> HopMessage | None:
        """Return the message that a hop stream begins with, or None when the stream has been dealt with."""
        if self._handshakes[stream.peer] >= bounds.MAX_HANDSHAKES_PER_PEER:
            await stream.reset()
            return None
        self._handshakes[stream.peer] += 1
        try:
            with trio.fail_after(bounds.HOP_READ_SECONDS):
                frame = await stream.read_frame(limit=bounds.MAX_MESSAGE_BYTES)
            return None if frame is None else wire.decode_hop(frame)
        except (StreamLost, trio.TooSlowError):
            await stream.reset()
        except ProtocolViolation as exc:
            _log.debug("relay.message.refused", peer=short(stream.peer), problem=str(exc))
            await self._answer(stream, Status.MALFORMED_MESSAGE)
        finally:
            self._handshakes[stream.peer] -= 1
            if not self._handshakes[stream.peer]:
                del self._handshakes[stream.peer]
        return None

    async def _answer(
        self,
        stream: Stream,
        status: Status,
        *,
        reservation: wire.Reservation | None = None,
        limit: wire.CircuitLimit | None = None,
    ) -> bool:
        """Send a status; False, and the stream reset, when the peer does not take it."""
        message = HopMessage(HopType.STATUS, reservation=reservation, limit=limit, status=status)
        try:
            with trio.fail_after(bounds.STATUS_WRITE_SECONDS):
                await stream.write_frame(wire.encode_hop(message), limit=bounds.MAX_MESSAGE_BYTES)
        except (StreamLost, trio.TooSlowError):
            await stream.reset()
            return False
        return True

    # --- RESERVE --------------------------------------------------------------------------------------------------

    async def _reserve(self, stream: Stream) -> None:
        self._expire()
        if not stream.relayed and not self._is_here(stream.peer):
            return  # it has gone since it asked: nobody would free the slot
        now = trio.current_time()
        outcome = self.reservations.reserve(stream.peer, ip=ip_in(stream.remote_addr), relayed=stream.relayed, now=now)
        if isinstance(outcome, Refused):
            self._metrics.reservation_refused(outcome.reason)
            _log.info("relay.slot.refused", reason=outcome.reason.value)
            await self._answer(stream, _RESERVATION_STATUS[outcome.reason])
            return
        self._metrics.reservation(ReservationEvent.RENEWED if outcome.renewed else ReservationEvent.OPENED)
        _log.debug("relay.slot.granted", peer=short(stream.peer), renewed=outcome.renewed)
        await self._answer(stream, Status.OK, reservation=self._reservation(stream.peer, outcome), limit=self._limit)

    def _reservation(self, peer: PeerId, granted: Granted) -> wire.Reservation:
        expires_at = int(self._wall_clock() + granted.expires_at - trio.current_time())
        return wire.Reservation(
            expires_at=expires_at,
            addrs=fitting_addrs(self._addrs()),
            voucher=wire.seal_voucher(self._identity, peer=peer, expires_at=expires_at),
        )

    def _expire(self) -> None:
        for _ in self.reservations.expire(now=trio.current_time()):
            self._metrics.reservation(ReservationEvent.CLOSED)

    def _is_here(self, peer: PeerId) -> bool:
        return any(not connection.relayed for connection in self._host.connections(peer))

    def _free_if_gone(self, peer: PeerId) -> None:
        """Free the slot of `peer` if no direct connection to it is left. Its circuits end with their streams."""
        if not self._is_here(peer) and self.reservations.release(peer):
            self._metrics.reservation(ReservationEvent.CLOSED)

    # --- CONNECT --------------------------------------------------------------------------------------------------

    async def _connect(self, stream: Stream, target: PeerId) -> None:
        outcome = self.circuits.open(
            stream.peer,
            target,
            source_ip=ip_in(stream.remote_addr),
            target_ip=self._ip_of(target),
            relayed=stream.relayed,
            reserved=self.reservations.holds(target, now=trio.current_time()),
        )
        if isinstance(outcome, CircuitRefused):
            await self._refuse(stream, outcome.reason)
            return
        try:
            onward = await self._reach(stream.peer, target)
            if onward is None:
                await self._refuse(stream, CircuitRefusal.TARGET_FAILED)
            else:
                await self._stand(outcome, stream, onward)
        finally:
            self.circuits.close(outcome)
            if self._emptied is not None and not len(self.circuits):
                self._emptied.set()

    async def _refuse(self, stream: Stream, reason: CircuitRefusal) -> None:
        self._metrics.circuit_refused(reason)
        _log.debug("relay.circuit.refused", reason=reason.value)
        await self._answer(stream, _CIRCUIT_STATUS[reason])

    def _ip_of(self, peer: PeerId) -> str | None:
        found = self._host.connections(peer)
        return next((ip_in(connection.remote_addr) for connection in found if not connection.relayed), None)

    async def _reach(self, source: PeerId, target: PeerId) -> Stream | None:
        """Return a stop stream on which `target` has accepted the circuit, or None when it cannot be had in time."""
        connect = StopMessage(StopType.CONNECT, peer=wire.CircuitPeer(source), limit=self._limit)
        with trio.move_on_after(bounds.STOP_SECONDS):
            try:
                stream = await self._host.open_stream(target, STOP_PROTOCOL)
            except (Unreachable, StreamLost) as exc:
                _log.debug("relay.target.lost", peer=short(target), problem=str(exc))
                return None
            accepted = False
            try:
                await stream.write_frame(wire.encode_stop(connect), limit=bounds.MAX_MESSAGE_BYTES)
                frame = await stream.read_frame(limit=bounds.MAX_MESSAGE_BYTES)
                answer = None if frame is None else wire.decode_stop(frame)
                accepted = answer is not None and answer.type is StopType.STATUS and answer.status is Status.OK
            except CoveyError as exc:
                _log.debug("relay.target.failed", peer=short(target), problem=str(exc))
            finally:
                if not accepted:
                    await stream.reset()
            return stream if accepted else None
        return None

    async def _stand(self, circuit: Circuit, source: Stream, target: Stream) -> None:
        """Tell the source that the circuit stands, and carry it to its end."""
        now = trio.current_time()
        self.circuits.establish(circuit, now=now)
        junction = Junction(circuit, source=source, target=target, carried=self._metrics.carried)
        if self.circuits.draining:
            junction.stop(CircuitEnd.DRAIN)
        self._standing[circuit] = junction
        self._metrics.circuit_opened()
        end = CircuitEnd.ERROR
        try:
            if await self._answer(source, Status.OK, limit=self._limit):
                end = await junction.run()
            else:
                await target.reset()
        finally:
            del self._standing[circuit]
            self._metrics.circuit_closed(end, seconds=trio.current_time() - now)
            _log.debug("relay.circuit.closed", reason=end.value)


def fitting_addrs(addrs: Iterable[str]) -> tuple[bytes, ...]:
    """Return the relay's addresses in binary form, as many as a reservation message has room for."""
    found: list[bytes] = []
    room = bounds.RESERVATION_ADDRS_BYTES
    for text in addrs:
        binary = Multiaddr(text).to_bytes()
        if len(binary) > room:
            break
        room -= len(binary)
        found.append(binary)
    return tuple(found[: bounds.RESERVATION_ADDRS])
