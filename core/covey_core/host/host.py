"""Covey's host: connections to peers, streams on them, handlers for theirs.

Owns: dialing a peer at several addresses, opening and accepting streams, the gate before admission, connection events.
Spec: docs/spec/host.md. Never touches: what protocols say; libp2p objects do not leave this room.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

import structlog
import trio
from libp2p.abc import INetStream
from libp2p.network.exceptions import SwarmException
from libp2p.network.stream.net_stream import NetStream
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from covey_core.errors import CoveyError, ProtocolViolation, StreamLost, Unreachable
from covey_core.host import addresses, circuit, identify, limits, multistream, ping
from covey_core.host.admitting import Admission
from covey_core.host.connection import Connection, ConnectionInfo
from covey_core.host.contained import Contained, kind_of, place_of, shielded
from covey_core.host.events import Event, Events
from covey_core.host.node import LibP2PHost
from covey_core.host.streams import LOST, Stream
from covey_core.host.swarm import CoveySwarm
from covey_core.limits import ADMISSION_DEADLINE_SECONDS
from covey_core.network import Network
from covey_core.peers import PeerId, short

_log: Final = structlog.get_logger("covey.host")

PING: Final = "/ipfs/ping/1.0.0"

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
        self._open_early = {identify.IDENTIFY, PING}
        self._dialing: dict[PeerId, trio.Lock] = {}
        if self._admission.is_needed:
            self._node.multiselect.handlers[self._admission.protocol] = self._check_admission  # type: ignore[index]
            self._open_early.add(self._admission.protocol)

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
            stream = self._wrap(net, protocol)
            await handler(stream)
            if not stream.handed_over:
                await stream.close()

        if before_admission:
            self._open_early.add(protocol)
        self._node.multiselect.handlers[protocol] = run  # type: ignore[index]

    def unhandle(self, protocol: str) -> None:
        """Serve `protocol` no longer; streams that run go on."""
        self._node.multiselect.handlers.pop(protocol, None)  # type: ignore[call-overload]

    # --- connections ----------------------------------------------------------------------------------------------

    async def connect(
        self, peer: PeerId, addrs: Sequence[str], *, timeout_seconds: float = limits.DIAL_SECONDS
    ) -> None:
        """Have a direct, admitted connection to `peer`, dialing `addrs` (8 at most, at once) when there is none.

        The first address that leads to the peer wins. Raises `Unreachable` with the reason of every address. Circuit
        addresses are not dialed here (`adopt_circuit`).
        """
        target = libp2p_id(peer)
        if peer == self.peer_id:
            raise Unreachable("that is this host itself")
        async with self._dialing.setdefault(peer, trio.Lock()):
            try:
                if await self._has_direct(target):
                    return
                reasons: list[str] = []
                with trio.move_on_after(timeout_seconds) as scope:
                    if await self._dial_any(target, _dialable(addrs, peer, reasons), reasons):
                        return
            finally:
                if not self._dialing[peer].statistics().tasks_waiting:
                    del self._dialing[peer]
        if scope.cancelled_caught:
            reasons.append(f"no answer within {timeout_seconds:g} s")
        raise Unreachable(
            f"no connection to {short(peer)}: {'; '.join(dict.fromkeys(reasons)) or 'no address to dial'}"
        )

    async def _has_direct(self, target: ID) -> bool:
        for connection in self._swarm.best(target):
            if not connection.relayed:
                with Contained() as outcome:
                    await connection.wait_admitted(limits.OPEN_STREAM_SECONDS)
                if outcome.error is None:
                    return True
        return False

    async def _dial_any(self, target: ID, found: Sequence[Multiaddr], reasons: list[str]) -> bool:
        won: list[Connection] = []

        async def dial(address: Multiaddr, scope: trio.CancelScope) -> None:
            try:
                connection = await self._swarm.dial(address, target)
                await connection.wait_admitted(limits.OPEN_STREAM_SECONDS)
            except (SwarmException, StreamLost) as exc:
                reasons.append(f"{address}: {exc}")
                return
            won.append(connection)
            scope.cancel()

        async with trio.open_nursery() as nursery:
            for address in found:
                nursery.start_soon(dial, address, nursery.cancel_scope)
        return bool(won)

    async def disconnect(self, peer: PeerId) -> None:
        """Close every connection to `peer`."""
        async with trio.open_nursery() as nursery:
            for connection in self._swarm.best(libp2p_id(peer)):
                nursery.start_soon(connection.close)

    def connections(self, peer: PeerId | None = None) -> tuple[ConnectionInfo, ...]:
        """Return the open connections, of one peer or of all; of one peer the best comes first."""
        found = self._swarm.all_connections() if peer is None else self._swarm.best(libp2p_id(peer))
        return tuple(one.info() for one in found if not one.is_closed)

    def subscribe(self) -> AbstractContextManager["trio.MemoryReceiveChannel[Event]"]:
        """Give a channel of `Connected` (after admission) and `Disconnected` from now on; see `Events.subscribe`."""
        return self.events.subscribe()

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

    async def open_stream(self, peer: PeerId, protocol: str) -> Stream:
        """Open a stream on an existing connection, direct before relayed; it waits for admission, 5 s in all.

        Raises `Unreachable` when not connected, `ProtocolRefused` when the peer does not speak `protocol`, `StreamLost`
        when the connection broke or the peer did not answer in time.
        """
        return self._wrap(await self.open_net_stream(libp2p_id(peer), [protocol]), protocol)

    async def ping(self, peer: PeerId) -> float:
        """Return the round trip time in seconds on the best connection; `StreamLost` after 5 s, `Unreachable`."""
        stream = await self.open_stream(peer, PING)
        return await ping.measure(stream)

    # --- for LibP2PHost -------------------------------------------------------------------------------------------

    async def reach(self, peer: ID, found: Sequence[Any]) -> None:
        """Connect to `peer` at these multiaddrs, if it is not connected."""
        for connection in self._swarm.best(peer):
            await connection.wait_admitted(limits.OPEN_STREAM_SECONDS)
            return
        await self.connect(PeerId(peer.to_base58()), [str(one) for one in found])

    async def open_net_stream(self, peer: ID, protocols: Sequence[str]) -> NetStream:
        """Open a stream that speaks the first of `protocols` that the peer speaks; errors as in `open_stream`."""
        found = self._swarm.best(peer)
        if not found:
            raise Unreachable(f"not connected to {peer.to_base58()[-6:]}")
        lost: StreamLost | None = None
        deadline = trio.current_time() + limits.OPEN_STREAM_SECONDS
        for left, connection in zip(range(len(found), 0, -1), found, strict=True):
            with trio.move_on_after(max(0.0, deadline - trio.current_time()) / left) as scope:
                try:
                    return await self._open_on(connection, protocols)
                except ProtocolRefused:
                    raise
                except StreamLost as exc:
                    lost = exc
            if scope.cancelled_caught:
                connection.doubt()
        raise lost or StreamLost(f"no answer within {limits.OPEN_STREAM_SECONDS:g} s")

    async def _open_on(self, connection: Connection, protocols: Sequence[str]) -> NetStream:
        await connection.wait_admitted(limits.OPEN_STREAM_SECONDS)
        return await negotiated(connection, protocols)

    # --- admission ------------------------------------------------------------------------------------------------

    async def prove(self, connection: Connection) -> None:
        """See a new connection through admission; an error means that it must be closed."""
        if not self._admission.is_needed:
            connection.admitted.set()
        elif connection.inbound:
            await self._admission.await_proof(connection)
        else:
            with trio.fail_after(ADMISSION_DEADLINE_SECONDS):
                net = await negotiated(connection, [self._admission.protocol])
                await self._admission.prove(connection, self._wrap(net, self._admission.protocol))

    async def greet(self, connection: Connection) -> None:
        """Ask a peer that was just admitted who it is, for libp2p's own protocols; it may as well not answer."""
        store = self._node.get_peerstore()
        target = libp2p_id(connection.peer)
        net = await negotiated(connection, [identify.IDENTIFY])
        await identify.ask(self._wrap(net, identify.IDENTIFY), target, store)
        connected = frozenset(self._swarm.connections)
        identify.forget_strangers(store, connected=connected, own=self._node.get_id())

    async def _check_admission(self, net: Any) -> None:
        await self._admission.check(net.swarm_conn, self._wrap(net, self._admission.protocol))

    # --- what peers open ------------------------------------------------------------------------------------------

    async def serve(self, net: INetStream) -> None:
        """Agree on a protocol with the peer that opened this stream, wait for its admission, run the handler."""
        protocol = ""
        done = False
        connection: Any = getattr(net, "swarm_conn", None)
        try:
            with Contained() as outcome:
                handlers: dict[Any, Any] = self._node.multiselect.handlers
                with trio.fail_after(limits.NEGOTIATE_SECONDS):
                    protocol = await multistream.answer(net, handlers)
                handler = handlers[protocol]
                net.set_protocol(protocol)  # type: ignore[arg-type]
                if protocol not in self._open_early:
                    await connection.wait_admitted(limits.OPEN_STREAM_SECONDS)
                await handler(net)
                done = True
            if outcome.error is not None:
                _log_failure(protocol, outcome.error)
        finally:
            if not done:
                with shielded(limits.CLOSE_SECONDS), Contained():
                    await net.reset()

    def _wrap(self, net: Any, protocol: str) -> Stream:
        connection: Connection = net.swarm_conn
        return Stream(
            net,
            peer=connection.peer,
            remote_addr=str(connection.remote),
            relayed=connection.relayed,
            protocol=protocol,
        )


class ProtocolRefused(StreamLost):
    """The peer is connected but does not speak the protocol."""


def libp2p_id(peer: PeerId) -> ID:
    """Return libp2p's form of a PeerId; `ProtocolViolation` for text that is none."""
    with Contained() as outcome:
        return ID.from_base58(peer)
    raise ProtocolViolation("that is no PeerId") from outcome.error


async def negotiated(connection: Connection, protocols: Sequence[str]) -> NetStream:
    """Open a stream on this very connection and agree on the first of `protocols` that the peer speaks."""
    refused: ProtocolRefused | None = None
    for protocol in protocols:
        net = await connection.open()
        done = False
        try:
            with trio.fail_after(limits.NEGOTIATE_SECONDS):
                await multistream.propose(net, protocol)
            net.set_protocol(protocol)  # type: ignore[arg-type]
            done = True
        except multistream.NotSpoken as exc:
            refused = ProtocolRefused(str(exc))
        except trio.TooSlowError as exc:
            connection.doubt()
            raise StreamLost(f"no answer within {limits.NEGOTIATE_SECONDS:g} s") from exc
        except (ProtocolViolation, *LOST) as exc:
            raise StreamLost("no agreement on a protocol") from exc
        finally:
            if not done:
                with shielded(limits.CLOSE_SECONDS), Contained():
                    await net.reset()
        if done:
            return net
    raise refused or ProtocolRefused("no protocol was proposed")


def _dialable(texts: Sequence[str], peer: PeerId, reasons: list[str]) -> list[Multiaddr]:
    found: list[Multiaddr] = []
    for text in texts:
        try:
            address, named = addresses.split_peer(addresses.parse(text))
        except CoveyError as exc:
            reasons.append(str(exc))
            continue
        if named not in {None, peer}:
            reasons.append(f"{text} names another peer")
        elif addresses.is_circuit(address):
            reasons.append("a circuit address is not dialed directly")
        elif address not in found:
            found.append(address)
    return found[: limits.DIALED_ADDRESSES]


def _log_failure(protocol: str, error: Exception) -> None:
    if isinstance(error, CoveyError | trio.TooSlowError | LOST):
        _log.debug("host.stream.ended", protocol=protocol, error=kind_of(error))
    else:
        _log.error("host.handler.failed", protocol=protocol, error=kind_of(error), place=place_of(error))
