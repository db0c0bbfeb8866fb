"""How bytes travel: one way to dial TCP and WebSocket, and to take what comes in.

Owns: dialing one address, and where an accepted connection came from. Spec: docs/spec/host.md.
Never touches: security, muxing, limits.
"""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from libp2p.abc import IRawConnection
from libp2p.io.abc import ReadWriteCloser
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.peer.id import ID
from libp2p.transport.exceptions import OpenConnectionError
from libp2p.transport.manager import TransportManager
from multiaddr import Multiaddr

from covey_core.host import addresses, limits, tcp, websocket
from covey_core.host.contained import Contained, shielded
from covey_core.host.names import Names


async def dial(
    manager: TransportManager, address: Multiaddr, peer_id: ID, listening: Iterable[tcp.Place], *, names: Names
) -> IRawConnection:
    """Return a raw connection to one direct address, which knows where it leads; `OpenConnectionError` otherwise.

    Over TCP it leaves from a port of ours that is listened on (`listening`), where there is one that fits.
    """
    if addresses.is_circuit(address):
        raise OpenConnectionError("a circuit address is not dialed directly")
    bare, _ = addresses.split_peer(address)
    target = await names.resolve(bare)
    if addresses.transport_label(target) == "tcp":
        place = tcp_place(target)
        try:
            stream = await tcp.dial(place, tcp.source_for(place[0], listening))
        except OSError as exc:
            raise OpenConnectionError(f"no TCP connection: {exc.strerror}") from exc
        return RawConnection(stream, initiator=True, addresses=[target])
    transport: Any = manager.transport_for_dialing(target)
    if transport is None:
        raise OpenConnectionError("no transport for this kind of address")
    raw = await transport.dial(Multiaddr(f"{target}/p2p/{peer_id}"))
    return RawConnection(raw.stream, initiator=True, addresses=[target])


def tcp_place(address: Multiaddr) -> tcp.Place:
    """Return the IP and port of a TCP address; `OpenConnectionError` when it has none."""
    ip = addresses.ip_of(address)
    if ip is None or addresses.names(address)[1:] != ("tcp",):
        raise OpenConnectionError("no transport for this kind of address")
    return ip, int(address.value_for_protocol("tcp") or 0)


def remote_address(closer: ReadWriteCloser, listener: Multiaddr) -> Multiaddr:
    """Return where an accepted connection came from, with the transport of the listener it came to.

    libp2p's TCP stream knows no IPv6 address: the system tells four values for one, and it wants two.
    """
    pair: tuple[str, int] | None = None
    with Contained():
        accepted: Any = closer
        pair = accepted.stream.socket.getpeername()[:2]
    if pair is None:
        return Multiaddr("/ip4/0.0.0.0/tcp/0")
    host = pair[0].partition("%")[0].removeprefix("::ffff:")
    kind = "ip6" if ":" in host else "ip4"
    return Multiaddr(f"/{kind}/{host}/tcp/{pair[1]}{'/ws' if is_websocket(listener) else ''}")


def is_websocket(listener: Multiaddr) -> bool:
    """Whether what comes to this listener has a WebSocket handshake before it."""
    return addresses.transport_label(listener) == "ws"


@asynccontextmanager
async def carried(closer: ReadWriteCloser, listener: Multiaddr) -> AsyncIterator[ReadWriteCloser]:
    """Give the byte stream of an accepted connection for the length of the block, within 5 s; closes it at the end."""
    accepted: Any = closer
    try:
        if not is_websocket(listener):
            closer = tcp.TcpBytes(accepted.stream, from_listen_port=True)
            yield closer
            return
        async with websocket.accepted(accepted.stream) as bytes_:
            yield bytes_
    finally:
        with shielded(limits.CLOSE_SECONDS), Contained():
            await closer.close()
