"""How bytes travel: TCP and WebSocket, with the addresses that libp2p's own transports forget.

Owns: dialing one address, and where an accepted connection came from. Spec: docs/spec/host.md.
Never touches: security, muxing, limits.
"""

import socket
from typing import Any, Final

import trio
from libp2p.abc import IRawConnection
from libp2p.io.abc import ReadWriteCloser
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.peer.id import ID
from libp2p.transport.exceptions import OpenConnectionError
from libp2p.transport.manager import TransportManager
from libp2p.transport.websocket.connection import P2PWebSocketConnection
from multiaddr import Multiaddr

from covey_core.host import addresses, limits
from covey_core.host.contained import Contained, shielded

_FAMILIES: Final = {"dns": socket.AF_UNSPEC, "dns4": socket.AF_INET, "dns6": socket.AF_INET6}


async def dial(
    manager: TransportManager, address: Multiaddr, peer_id: ID, source: tuple[str, int] | None
) -> IRawConnection:
    """Return a raw connection to one direct address, which knows where it leads; `OpenConnectionError` otherwise."""
    if addresses.is_circuit(address):
        raise OpenConnectionError("a circuit address is not dialed directly")
    bare, _ = addresses.split_peer(address)
    target = await _resolve(bare)
    transport: Any = manager.transport_for_dialing(target)
    if transport is None:
        raise OpenConnectionError("no transport for this kind of address")
    full = Multiaddr(f"{target}/p2p/{peer_id}")
    if source is not None and hasattr(transport, "dial_with_source"):
        raw = await transport.dial_with_source(full, source)
    else:
        raw = await transport.dial(full)
    return RawConnection(raw.stream, initiator=True, addresses=[target])


async def _resolve(address: Multiaddr) -> Multiaddr:
    """Turn a name into an IP by the system's resolver.

    Upstream asks DNS servers itself, past /etc/hosts. wss keeps the name: TLS needs it.
    """
    names = addresses.names(address)
    if not names or names[0] not in _FAMILIES or {"wss", "tls"} & set(names):
        return address
    name = str(address.value_for_protocol(names[0]))
    try:
        found = await trio.socket.getaddrinfo(name, None, family=_FAMILIES[names[0]], type=socket.SOCK_STREAM)
    except OSError as exc:
        raise OpenConnectionError("the name does not resolve") from exc
    family, *_, place = found[0]
    kind = "ip6" if family == socket.AF_INET6 else "ip4"
    return Multiaddr(f"/{kind}/{place[0]}{str(address).removeprefix(f'/{names[0]}/{name}')}")


def remote_address(closer: ReadWriteCloser, listener: Multiaddr) -> Multiaddr:
    """Return where an accepted connection came from, with the transport of the listener it came to.

    libp2p's WebSocket connection does not know its remote address; the library below it does.
    """
    pair: tuple[str, int] | None = None
    with Contained():
        if isinstance(closer, P2PWebSocketConnection):
            endpoint: Any = closer._ws_connection.remote  # noqa: SLF001 - the only way to it
            pair = (str(endpoint.address), int(endpoint.port)) if not isinstance(endpoint, str) else None
        else:
            pair = closer.get_remote_address()
    if pair is None:
        return Multiaddr("/ip4/0.0.0.0/tcp/0")
    host = pair[0].partition("%")[0].removeprefix("::ffff:")
    kind = "ip6" if ":" in host else "ip4"
    suffix = "/ws" if addresses.transport_label(listener) == "ws" else ""
    return Multiaddr(f"/{kind}/{host}/tcp/{pair[1]}{suffix}")


async def close(closer: ReadWriteCloser) -> None:
    """Close an accepted connection within a second, whatever state it is in. Never raises.

    libp2p's WebSocket connection forgets its socket once a write on it failed; the socket below is closed as well.
    """
    with shielded(limits.CLOSE_SECONDS), Contained():
        await closer.close()
    if isinstance(closer, P2PWebSocketConnection):
        below: Any = closer._ws_connection  # noqa: SLF001 - the only way to it
        with shielded(limits.CLOSE_SECONDS), Contained():
            await trio.aclose_forcefully(below._stream)  # noqa: SLF001
