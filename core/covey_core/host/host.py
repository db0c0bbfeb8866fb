"""Covey's host: connections to peers, streams on them, handlers for theirs.

Owns: dialing a peer at several addresses, opening and accepting streams, the gate before admission, connection events.
Spec: docs/spec/host.md. Never touches: what protocols say; libp2p objects do not leave this room.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

import trio
from libp2p.abc import INetStream
from libp2p.network.exceptions import SwarmException
from libp2p.network.stream.net_stream import NetStream
from libp2p.peer.id import ID

from covey_core.admission import FRAME_MAX_BYTES
from covey_core.errors import CoveyError, StreamLost, Unreachable
from covey_core.host import addresses, circuit, identify, limits, ping
from covey_core.host.acquaintances import Acquaintances
from covey_core.host.admitting import Admission
from covey_core.host.connection import Connection, ConnectionInfo, Observation
from covey_core.host.contained import Contained
from covey_core.host.dialing import Dialing
from covey_core.host.events import Events
from covey_core.host.gate import Gate
from covey_core.host.node import LibP2PHost
from covey_core.host.opening import ProtocolRefused, libp2p_id, negotiated
from covey_core.host.punch import Punch, PunchResult
from covey_core.host.streams import Stream, wrapped
from covey_core.host.swarm import CoveySwarm
from covey_core.limits import ADMISSION_DEADLINE_SECONDS
from covey_core.network import Network
from covey_core.peers import PeerId
from covey_core.wire.framing import encode_frame

StreamHandler = Callable[[Stream], Awaitable[None]]


class Host:
    """One identity on one network. Made by `open_host`."""

    def __init__(
        self,
        *,
        peer_id: PeerId,
        network: Network,
        node: LibP2PHost,
        swarm: CoveySwarm,
    ) -> None:
        self.peer_id: Final = peer_id
        self.network: Final = network
        self.events: Final = Events()
        self._node = node
        self._swarm = swarm
        self._admission = Admission(network, me=peer_id)
        self._dials = Dialing(swarm, me=peer_id)
        self.acquaintances: Final = Acquaintances(node, swarm, self.events)
        handlers: dict[Any, Any] = node.multiselect.handlers
        self._gate = Gate(handlers)
        self._gate.add(ping.PING, handlers[ping.PING], before_admission=True)
        self._gate.add(identify.IDENTIFY, self.acquaintances.answer, before_admission=True)
        self._gate.add(identify.PUSH, self.acquaintances.hear, before_admission=False)
        if self._admission.is_needed:
            self._gate.add(self._admission.protocol, self._check_admission, before_admission=True)
        swarm.set_stream_handler(self._gate.serve)

    # --- what we are ----------------------------------------------------------------------------------------------

    @property
    def addrs(self) -> tuple[str, ...]:
        """The announced addresses, else the ones really bound, each ending in /p2p/<our PeerId>."""
        return addresses.without_duplicates(str(one) for one in self._node.get_addrs())

    @property
    def libp2p(self) -> LibP2PHost:
        """The libp2p face, for libp2p's own protocols (covey_core.host.dht); nothing outside this room uses it."""
        return self._node

    def handle(self, protocol: str, handler: StreamHandler, *, before_admission: bool = False) -> None:
        """Serve `protocol`: `handler` runs once a stream, in a task of its own that ends with the connection.

        An error of the handler resets that stream and is logged; when it returns, the stream is closed. Streams wait
        for admission unless `before_admission`.
        """

        async def run(net: INetStream) -> None:
            stream = wrapped(net, protocol)
            await handler(stream)
            if not stream.handed_over:
                await stream.close()

        self._gate.add(protocol, run, before_admission=before_admission)

    def unhandle(self, protocol: str) -> None:
        """Serve `protocol` no longer; streams that run go on."""
        self._gate.remove(protocol)

    # --- connections ----------------------------------------------------------------------------------------------

    async def connect(
        self, peer: PeerId, addrs: Sequence[str], *, timeout_seconds: float = limits.DIAL_SECONDS
    ) -> None:
        """Have a direct, admitted connection to `peer`, dialing `addrs` (8 at most) when there is none.

        The first address that leads to the peer wins. Raises `Unreachable` with the reason of every address. Circuit
        addresses are not dialed here (`adopt_circuit`).
        """
        await self._dials.connect(peer, addrs, timeout_seconds=timeout_seconds)

    async def dial_also(self, peer: PeerId, addr: str) -> ConnectionInfo:
        """Dial one direct address although a connection stands; returns after admission, raises `Unreachable`.

        A QUIC connection beside a TCP one goes again soon, unless `keep_both` was said of the peer.
        """
        return (await self._dials.dial_also(peer, addr)).info()

    def keep_both(self, peer: PeerId) -> None:
        """Keep a QUIC connection to `peer` beside a TCP one: both tell of our address. Its side must do so too."""
        self._swarm.keeps_both_to.add(libp2p_id(peer))

    async def punch(self, peer: PeerId, addrs: Sequence[str], *, client: bool, window_seconds: float) -> PunchResult:
        """Dial all of `addrs` (16 at most) until the first direct connection to `peer` is admitted.

        Both sides do so at the same time, one as `client` (Noise and Yamux initiator), the other not. Never raises for
        what peers do: the result says what became of each address.
        """
        if peer == self.peer_id:
            raise Unreachable("that is this host itself")
        window = Punch(self._swarm, libp2p_id(peer), self.network.scope, client=client)
        return await window.run(addrs, window_seconds=window_seconds)

    async def disconnect(self, peer: PeerId) -> None:
        """Close every connection to `peer`."""
        async with trio.open_nursery() as nursery:
            for connection in self._swarm.best(libp2p_id(peer)):
                nursery.start_soon(connection.close)

    async def close_connection(self, number: int) -> None:
        """Close one connection; nothing when it is gone already."""
        for connection in self._swarm.all_connections():
            if connection.number == number:
                await connection.close()

    def connections(self, peer: PeerId | None = None) -> tuple[ConnectionInfo, ...]:
        """Return the open connections, of one peer or of all; of one peer the best comes first."""
        found = self._swarm.all_connections() if peer is None else self._swarm.best(libp2p_id(peer))
        return tuple(one.info() for one in found if not one.is_closed)

    def subscribe(self, *, identified: bool = False) -> AbstractContextManager["trio.MemoryReceiveChannel[Any]"]:
        """Give a channel of `Connected` (after admission) and `Disconnected` from now on; see `Events.subscribe`.

        With `identified`, of `Identified` as well.
        """
        return self.events.subscribe(identified=identified)

    # --- what peers said of themselves and of us -------------------------------------------------------------------

    def observations(self) -> tuple[Observation, ...]:
        """Return our addresses as peers see them, on direct connections that stand and leave from a listening port."""
        return tuple(
            Observation(one.peer, one.remote_addr, one.observed, one.transport, one.inbound)
            for one in self.connections()
            if one.observed is not None and one.from_listen_port and one.admitted
        )

    def speaks(self, peer: PeerId, protocol: str) -> bool:
        """Whether the connected peer named this protocol; False before it answered."""
        said = self.acquaintances.of(libp2p_id(peer))
        return said is not None and protocol in said.protocols

    def agent(self, peer: PeerId) -> str | None:
        """Return the connected peer's agent string, such as covey/0.1.0; None before it answered."""
        said = self.acquaintances.of(libp2p_id(peer))
        return None if said is None else said.agent

    def listen_addrs_of(self, peer: PeerId) -> tuple[str, ...]:
        """Return the addresses at which the connected peer says that it listens."""
        said = self.acquaintances.of(libp2p_id(peer))
        return () if said is None else said.listen_addrs

    async def adopt_circuit(self, stream: Stream, *, peer: PeerId | None, dialer: bool, relay: PeerId) -> PeerId:
        """Make a connection, end to end, of a circuit's byte stream; returns the peer after admission.

        `dialer` is the side that asked the relay to connect; it must name the `peer`. The connection and the circuit's
        stream end together. Raises `Unreachable`; the stream is then closed.
        """
        if dialer and peer is None:
            raise Unreachable("the dialer of a circuit must name the peer")
        stream.hand_over()
        raw = circuit.raw_connection(stream, relay=relay, dialer=dialer)
        with Contained() as outcome:
            connection = await self._swarm.upgrade(raw, libp2p_id(peer) if dialer and peer is not None else None)
            if peer is not None and connection.peer != peer:
                await connection.close()
                raise Unreachable("another peer than expected came through the circuit")
            await connection.wait_admitted(limits.OPEN_STREAM_SECONDS)
            return connection.peer
        await stream.reset()
        reason = (
            str(outcome.error) if isinstance(outcome.error, CoveyError | SwarmException) else "the handshake failed"
        )
        raise Unreachable(f"no connection through the circuit: {reason}") from outcome.error

    # --- streams --------------------------------------------------------------------------------------------------

    async def open_stream(self, peer: PeerId, protocol: str, *, on: int | None = None, early: bytes = b"") -> Stream:
        """Open a stream on an existing connection, direct before relayed; it waits for admission, 5 s in all.

        `on` is a connection's number: then on that one only. `early`, a whole frame, leaves before the peer has agreed
        to the protocol, and saves a round trip.

        Raises `Unreachable` when not connected, `ProtocolRefused` when the peer does not speak `protocol`, `StreamLost`
        when the connection broke or the peer did not answer in time.
        """
        return wrapped(await self.open_net_stream(libp2p_id(peer), [protocol], on=on, early=early), protocol)

    async def ping(self, peer: PeerId, *, on: int | None = None) -> float:
        """Return the round trip time in seconds, on the best connection or `on` the one of that number.

        `StreamLost` after 5 s, `Unreachable` when there is none.
        """
        stream = await self.open_stream(peer, ping.PING, on=on)
        return await ping.measure(stream)

    async def ping_on(self, connection: Connection) -> None:
        """Have one answer to a ping on this very connection; `StreamLost` when it does not come."""
        net = await self._open_on(connection, [ping.PING])
        await ping.measure(wrapped(net, ping.PING))

    # --- for LibP2PHost -------------------------------------------------------------------------------------------

    async def reach(self, peer: ID, found: Sequence[Any]) -> None:
        """Connect to `peer` at these multiaddrs, if it is not connected."""
        for connection in self._swarm.best(peer):
            await connection.wait_admitted(limits.OPEN_STREAM_SECONDS)
            return
        await self.connect(PeerId(peer.to_base58()), [str(one) for one in found])

    async def open_net_stream(
        self, peer: ID, protocols: Sequence[str], *, on: int | None = None, early: bytes = b""
    ) -> NetStream:
        """Open a stream that speaks the first of `protocols` that the peer speaks; errors as in `open_stream`."""
        found = [one for one in self._swarm.best(peer) if on in {None, one.number}]
        if not found:
            raise Unreachable(f"not connected to {peer.to_base58()[-6:]}")
        lost: StreamLost | None = None
        deadline = trio.current_time() + limits.OPEN_STREAM_SECONDS
        for left, connection in zip(range(len(found), 0, -1), found, strict=True):
            with trio.move_on_after(max(0.0, deadline - trio.current_time()) / left) as scope:
                try:
                    return await self._open_on(connection, protocols, early=early)
                except ProtocolRefused:
                    raise
                except StreamLost as exc:
                    lost = exc
            if scope.cancelled_caught:
                connection.doubt()
        raise lost or StreamLost(f"no answer within {limits.OPEN_STREAM_SECONDS:g} s")

    async def _open_on(self, connection: Connection, protocols: Sequence[str], *, early: bytes = b"") -> NetStream:
        await connection.wait_admitted(limits.OPEN_STREAM_SECONDS)
        return await negotiated(connection, protocols, early=early)

    # --- admission ------------------------------------------------------------------------------------------------

    async def prove(self, connection: Connection) -> None:
        """See a new connection through admission; an error means that it must be closed."""
        if not self._admission.is_needed:
            connection.admitted.set()
        elif connection.inbound:
            await self._admission.await_proof(connection)
        else:
            with trio.fail_after(ADMISSION_DEADLINE_SECONDS):
                machine = self._admission.dialer(connection)
                hello = encode_frame(machine.hello(), limit=FRAME_MAX_BYTES)
                net = await negotiated(connection, [self._admission.protocol], early=hello)
                await self._admission.prove(machine, connection, wrapped(net, self._admission.protocol))

    async def _check_admission(self, net: Any) -> None:
        await self._admission.check(net.swarm_conn, wrapped(net, self._admission.protocol))
