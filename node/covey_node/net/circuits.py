"""Circuits through relays: opened to others, and taken from others where we keep a slot.

Owns: the client's side of the hop and stop handshakes. Spec: docs/spec/circuit.md.
Never touches: which relay is asked, slots (relays.py).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import trio

from covey_core.errors import ProtocolViolation, StreamLost, Unreachable
from covey_core.host import ConnectionInfo, Host, Stream
from covey_core.limits import CIRCUIT_MESSAGE_BYTES
from covey_core.peers import PeerId
from covey_core.wire.circuit import (
    HOP_PROTOCOL,
    STOP_PROTOCOL,
    CircuitLimit,
    CircuitPeer,
    HopMessage,
    HopType,
    Reservation,
    Status,
    StopMessage,
    StopType,
    decode_hop,
    decode_stop,
    encode_hop,
    encode_stop,
)
from covey_node import limits


class Circuits:
    """Opens circuits, and takes those that come through relays for which `holds_slot` is true."""

    def __init__(self, host: Host, holds_slot: Callable[[PeerId], bool]) -> None:
        self._host = host
        self._holds_slot = holds_slot
        self._limits: OrderedDict[tuple[PeerId, PeerId], CircuitLimit] = OrderedDict()
        host.handle(STOP_PROTOCOL, self._serve_stop)

    def limit_of(self, info: ConnectionInfo) -> CircuitLimit | None:
        """Return what its relay allows a circuit, as it said when the last one to that device began."""
        return None if info.relay is None else self._limits.get((info.peer, info.relay))

    async def reserve(self, relay: PeerId) -> Reservation:
        """Ask a connected relay for a slot; Unreachable tells why it gives none."""
        stream = await self._host.open_stream(relay, HOP_PROTOCOL)
        try:
            await _write(stream, encode_hop(HopMessage(HopType.RESERVE)))
            answer = decode_hop(await _read(stream))
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(1):
                await stream.close()
        if answer.type is not HopType.STATUS or answer.status is not Status.OK or answer.reservation is None:
            raise Unreachable(_explain(answer.status))
        return answer.reservation

    async def dial(self, relay: PeerId, relay_addrs: tuple[str, ...], peer: PeerId) -> None:
        """Open a circuit to `peer` through a relay and make it a connection; Unreachable says why not."""
        with trio.move_on_after(limits.CIRCUIT_HANDSHAKE_SECONDS) as scope:
            await self._host.connect(relay, relay_addrs)
            stream = await self._host.open_stream(relay, HOP_PROTOCOL)
            try:
                self._note_limit(peer, relay, await self._connect_through(stream, peer))
                await self._host.adopt_circuit(stream, peer=peer, dialer=True, relay=relay)
            except BaseException:
                with trio.CancelScope(shield=True), trio.move_on_after(1):
                    await stream.reset()
                raise
        if scope.cancelled_caught:
            raise Unreachable("the relay did not bring up a circuit in time")

    async def _connect_through(self, stream: Stream, peer: PeerId) -> CircuitLimit | None:
        await _write(stream, encode_hop(HopMessage(HopType.CONNECT, peer=CircuitPeer(peer))))
        answer = decode_hop(await _read(stream))
        if answer.type is not HopType.STATUS:
            raise ProtocolViolation("the relay answered a circuit with another message")
        if answer.status is not Status.OK:
            raise Unreachable(_explain(answer.status))
        return answer.limit

    async def _serve_stop(self, stream: Stream) -> None:
        with trio.move_on_after(limits.CIRCUIT_HANDSHAKE_SECONDS) as scope:
            request = decode_stop(await _read(stream))
            if request.type is not StopType.CONNECT or request.peer is None:
                await self._answer_stop(stream, Status.UNEXPECTED_MESSAGE)
                await stream.close()
                return
            if not self._holds_slot(stream.peer):
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

    def _note_limit(self, peer: PeerId, relay: PeerId, limit: CircuitLimit | None) -> None:
        self._limits.pop((peer, relay), None)
        if limit is not None:
            self._limits[peer, relay] = limit
        while len(self._limits) > limits.CIRCUIT_LIMITS_REMEMBERED:
            self._limits.popitem(last=False)


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
