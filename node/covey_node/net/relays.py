"""Our slots at relays, circuits that come in through them, and circuits that we open.

Owns: one keeper task a relay; who holds a slot for us until when. Spec: docs/spec/circuit.md (client side).
Never touches: the database, contacts. The timetable is protocol/reservation.py.
"""

from __future__ import annotations

import random
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from covey_core.errors import CoveyError, ProtocolViolation, StreamLost, Unreachable
from covey_core.host import Connected, ConnectionInfo, Disconnected, Host, Stream
from covey_core.limits import CIRCUIT_MESSAGE_BYTES
from covey_core.logs import get_logger
from covey_core.network import RelayEntry
from covey_core.peers import PeerId
from covey_core.wire.circuit import (
    HOP_PROTOCOL,
    STOP_PROTOCOL,
    CircuitLimit,
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
    open_voucher,
)
from covey_node import limits
from covey_node.protocol.addresses import Direct, circuit, parse
from covey_node.protocol.reservation import ReservationTimetable

log = get_logger("node.relays")


@dataclass(slots=True)
class Relay:
    """One relay of the network: who runs it, where it is, and our slot there."""

    operator: str
    peer: PeerId
    addrs: tuple[str, ...]
    timetable: ReservationTimetable = field(default_factory=ReservationTimetable)
    changed: trio.Event = field(default_factory=trio.Event)


class RelayClient:
    """Keeps slots at the network's relays and carries circuits into the host."""

    def __init__(self, host: Host, relays: tuple[RelayEntry, ...], on_change: Callable[[], None]) -> None:
        self._host = host
        self._on_change = on_change
        self._any_change = trio.Event()
        self.relays = {relay.peer: relay for relay in map(_relay, relays)}
        self._wanted = min(limits.RESERVATIONS_WANTED, len(self.relays))
        self._limits: OrderedDict[tuple[PeerId, PeerId], CircuitLimit] = OrderedDict()
        host.handle(STOP_PROTOCOL, self._serve_stop)

    def held(self) -> tuple[Relay, ...]:
        """Return the relays that keep a slot for us now."""
        now = time.time()
        return tuple(relay for relay in self.relays.values() if relay.timetable.held(now=now))

    async def wait_change(self) -> None:
        """Wait until a slot was granted, refused or lost."""
        await self._any_change.wait()

    def circuit_addrs(self) -> tuple[str, ...]:
        """Return our addresses through the relays that keep a slot for us."""
        return tuple(circuit(addr, self._host.peer_id) for relay in self.held() for addr in relay.addrs)

    def limit_of(self, info: ConnectionInfo) -> CircuitLimit | None:
        """Return what its relay allows a circuit, as it said when the last one to that device began."""
        return None if info.relay is None else self._limits.get((info.peer, info.relay))

    async def run(self) -> None:
        """Keep the slots until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_connections)
            for relay in self.relays.values():
                nursery.start_soon(self._keep, relay)

    async def dial(self, relay_peer: PeerId, relay_addrs: tuple[str, ...], peer: PeerId) -> None:
        """Open a circuit to `peer` through a relay and make it a connection; Unreachable says why not."""
        with trio.move_on_after(limits.CIRCUIT_HANDSHAKE_SECONDS) as scope:
            await self._host.connect(relay_peer, relay_addrs)
            stream = await self._host.open_stream(relay_peer, HOP_PROTOCOL)
            try:
                self._note_limit(peer, relay_peer, await self._connect_through(stream, peer))
                await self._host.adopt_circuit(stream, peer=peer, dialer=True, relay=relay_peer)
            except BaseException:
                with trio.CancelScope(shield=True), trio.move_on_after(1):
                    await stream.reset()
                raise
        if scope.cancelled_caught:
            raise Unreachable("the relay did not bring up a circuit in time")

    def _note_limit(self, peer: PeerId, relay: PeerId, limit: CircuitLimit | None) -> None:
        self._limits.pop((peer, relay), None)
        if limit is not None:
            self._limits[peer, relay] = limit
        while len(self._limits) > limits.CIRCUIT_LIMITS_REMEMBERED:
            self._limits.popitem(last=False)

    async def _connect_through(self, stream: Stream, peer: PeerId) -> CircuitLimit | None:
        await _write(stream, encode_hop(HopMessage(HopType.CONNECT, peer=CircuitPeer(peer))))
        answer = decode_hop(await _read(stream))
        if answer.type is not HopType.STATUS:
            raise ProtocolViolation("the relay answered a circuit with another message")
        if answer.status is not Status.OK:
            raise Unreachable(_explain(answer.status))
        return answer.limit

    async def _keep(self, relay: Relay) -> None:
        while True:
            now = time.time()
            table = relay.timetable
            if len(self.held()) >= self._wanted and not table.held(now=now):
                await self._wait(relay, None)  # enough slots: wait for one to be lost
                continue
            if now < table.wait_until:
                await self._wait(relay, table.wait_until - now)
                continue
            try:
                with trio.fail_after(limits.CIRCUIT_HANDSHAKE_SECONDS):
                    await self._reserve(relay)
            except (CoveyError, trio.TooSlowError) as exc:
                reason = str(exc) or "the relay did not answer in time"
                table.failed(reason, now=time.time(), jitter=random.random())  # noqa: S311 - spreads load, no secret
                log.debug("node.reservation.failed", relay=relay.operator)
            self._changed()

    async def _reserve(self, relay: Relay) -> None:
        await self._host.connect(relay.peer, relay.addrs)
        stream = await self._host.open_stream(relay.peer, HOP_PROTOCOL)
        try:
            await _write(stream, encode_hop(HopMessage(HopType.RESERVE)))
            answer = decode_hop(await _read(stream))
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(1):
                await stream.close()
        if answer.type is not HopType.STATUS or answer.status is not Status.OK or answer.reservation is None:
            raise Unreachable(_explain(answer.status))
        slot = answer.reservation
        if slot.voucher is not None:
            voucher = open_voucher(slot.voucher, relay=relay.peer)
            if voucher.peer != self._host.peer_id:
                raise ProtocolViolation("the relay's voucher is for somebody else")
        now = time.time()
        if slot.expires_at <= now:
            raise Unreachable("the relay gave a slot that has ended already: its clock, or ours, is wrong")
        relay.timetable.granted(float(slot.expires_at), now=now)
        log.info("node.reservation.granted", relay=relay.operator)

    async def _watch_connections(self) -> None:
        with self._host.subscribe() as events:
            async for event in events:
                relay = self.relays.get(event.peer)
                if relay is None:
                    continue
                if isinstance(event, Disconnected) and not self._host.connections(event.peer):
                    jitter = random.random()  # noqa: S311 - spreads load, no secret
                    relay.timetable.lost("the connection to the relay ended", now=time.time(), jitter=jitter)
                    self._changed()
                elif isinstance(event, Connected) and not relay.timetable.held(now=time.time()):
                    relay.timetable.wait_until = 0.0
                    self._changed()

    async def _serve_stop(self, stream: Stream) -> None:
        with trio.move_on_after(limits.CIRCUIT_HANDSHAKE_SECONDS) as scope:
            request = decode_stop(await _read(stream))
            relay = self.relays.get(stream.peer)
            if request.type is not StopType.CONNECT or request.peer is None:
                await self._answer_stop(stream, Status.UNEXPECTED_MESSAGE)
                await stream.close()
                return
            if relay is None or not relay.timetable.held(now=time.time()):
                await self._answer_stop(stream, Status.PERMISSION_DENIED)
                await stream.close()
                return
            self._note_limit(request.peer.id, stream.peer, request.limit)
            await self._answer_stop(stream, Status.OK)
            await self._host.adopt_circuit(stream, peer=request.peer.id, dialer=False, relay=stream.peer)
        if scope.cancelled_caught:
            raise StreamLost("a circuit did not come up in time")

    async def _answer_stop(self, stream: Stream, status: Status) -> None:
        await _write(stream, encode_stop(StopMessage(StopType.STATUS, status=status)))

    async def _wait(self, relay: Relay, seconds: float | None) -> None:
        with trio.move_on_after(seconds if seconds is not None else float("inf")):
            await relay.changed.wait()

    def _changed(self) -> None:
        for relay in self.relays.values():
            relay.changed.set()
            relay.changed = trio.Event()
        self._any_change.set()
        self._any_change = trio.Event()
        self._on_change()


def _relay(entry: RelayEntry) -> Relay:
    targets = [target for target in map(parse, entry.addrs) if isinstance(target, Direct)]
    if not targets or len({target.peer for target in targets}) != 1:
        raise ProtocolViolation(f"the relay of {entry.operator} has no address, or addresses of several relays")
    return Relay(entry.operator, targets[0].peer, entry.addrs)


def _explain(status: Status | None) -> str:
    words = {
        Status.NO_RESERVATION: "the relay has no slot for the contact: it is offline or uses another relay",
        Status.CONNECTION_FAILED: "the relay cannot reach the contact",
        Status.RESOURCE_LIMIT_EXCEEDED: "the relay is full",
        Status.RESERVATION_REFUSED: "the relay gives out no slots now",
        Status.PERMISSION_DENIED: "the relay or the contact refused the circuit",
    }
    return words.get(status or Status.UNUSED, "the relay answered with a message that does not fit")


async def _write(stream: Stream, payload: bytes) -> None:
    await stream.write_frame(payload, limit=CIRCUIT_MESSAGE_BYTES)


async def _read(stream: Stream) -> bytes:
    payload = await stream.read_frame(limit=CIRCUIT_MESSAGE_BYTES)
    if payload is None:
        raise StreamLost("the other side closed the stream")
    return payload
