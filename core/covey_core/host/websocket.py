"""WebSocket as a transport: one binary message after the other, their edges without meaning.

Owns: the handshake and the bytes. Upstream's transport prints and follows proxy variables of the environment, counts
dialed connections and never uncounts them, does not know remote addresses and leaks the socket of one that was cut off
(docs/adr/0005). Spec: RFC 6455; libp2p specs, websockets. Never touches: security, muxing, limits.
"""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import trio
from libp2p.abc import IRawConnection, ITransport
from libp2p.custom_types import THandler
from libp2p.io.abc import ReadWriteCloser
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.transport.exceptions import OpenConnectionError
from libp2p.transport.tcp.tcp import TCPListener
from multiaddr import Multiaddr
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream, wrap_server_stream

from covey_core.host import addresses, limits
from covey_core.host.contained import Contained, kind_of, shielded

_QUEUE: Final = 1


class WebSocketBytes(ReadWriteCloser):
    """A WebSocket as a byte stream."""

    def __init__(self, socket: WebSocketConnection, below: Any) -> None:
        self._socket: Final = socket
        self._below: Final = below
        self._buffer = b""
        self.closed: Final = trio.Event()

    async def read(self, n: int | None = None) -> bytes:
        """Return up to n bytes, b"" at the end."""
        while not self._buffer:
            try:
                message = await self._socket.get_message()
            except ConnectionClosed:
                return b""
            self._buffer = message.encode() if isinstance(message, str) else message
        size = len(self._buffer) if n is None else n
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    async def write(self, data: bytes) -> None:
        """Send `data` as one message."""
        try:
            await self._socket.send_message(data)
        except ConnectionClosed as exc:
            raise ConnectionClosedError("the WebSocket was closed", transport="ws") from exc

    async def close(self) -> None:
        """Close the WebSocket, and within a second the socket below it. Never raises."""
        with shielded(limits.CLOSE_SECONDS), Contained():
            await self._socket.aclose()
        with trio.CancelScope(shield=True), Contained():
            await trio.aclose_forcefully(self._below)
        self.closed.set()

    def get_remote_address(self) -> tuple[str, int] | None:
        """Return the IP and port of the other side, if the socket still knows."""
        with Contained():
            endpoint: Any = self._socket.remote
            return str(endpoint.address), int(endpoint.port)
        return None


class _Opening:
    """The nursery that trio-websocket gets for its reader: a handshake ends when the reader does.

    trio-websocket itself waits on for an answer when the other side hung up in the middle of the handshake.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.is_open = False

    def start_soon(self, reader: Callable[[], Awaitable[None]]) -> None:
        self._nursery.start_soon(self._read, reader)

    async def _read(self, reader: Callable[[], Awaitable[None]]) -> None:
        with Contained():
            await reader()
        if not self.is_open:
            self._nursery.cancel_scope.cancel()


@asynccontextmanager
async def accepted(below: Any) -> AsyncIterator[WebSocketBytes]:
    """Answer a WebSocket handshake on an accepted TCP stream; the WebSocket lives as long as the block."""
    bytes_: WebSocketBytes | None = None
    async with trio.open_nursery() as nursery:
        opening: Any = _Opening(nursery)
        request = await wrap_server_stream(
            opening, below, message_queue_size=_QUEUE, max_message_size=limits.WEBSOCKET_MESSAGE_BYTES
        )
        socket = await request.accept()
        opening.is_open = True
        bytes_ = WebSocketBytes(socket, below)
        try:
            yield bytes_
        finally:
            await bytes_.close()
            nursery.cancel_scope.cancel()
    if bytes_ is None:
        raise ConnectionClosedError("no WebSocket handshake", transport="ws")


class WebSocketTransport(ITransport):
    """Dials ws and wss, listens on ws. The readers of dialed WebSockets run in `tasks`."""

    def __init__(self, tasks: trio.Nursery) -> None:
        self._tasks = tasks

    async def dial(self, maddr: Multiaddr) -> IRawConnection:
        """Return a raw connection to a ws or wss address; `OpenConnectionError` otherwise."""
        found = addresses.names(maddr)
        host = str(maddr.value_for_protocol(found[0]))
        port = int(maddr.value_for_protocol("tcp") or 0)
        try:
            stream: Any = await trio.open_tcp_stream(host, port)
        except OSError as exc:
            raise OpenConnectionError(f"Failed to open TCP stream: {exc}") from exc
        if "wss" in found or "tls" in found:
            stream = trio.SSLStream(stream, ssl.create_default_context(), server_hostname=host, https_compatible=True)
        bytes_ = await self._tasks.start(self._carry, stream, f"[{host}]" if ":" in host else host)
        return RawConnection(bytes_, initiator=True)

    async def _carry(self, stream: Any, host: str, *, task_status: Any) -> None:
        bytes_: WebSocketBytes | None = None
        try:
            with Contained() as outcome:
                async with trio.open_nursery() as nursery:
                    opening: Any = _Opening(nursery)
                    with trio.fail_after(limits.UPGRADE_SECONDS):
                        socket = await wrap_client_stream(
                            opening,
                            stream,
                            host,
                            "/",
                            message_queue_size=_QUEUE,
                            max_message_size=limits.WEBSOCKET_MESSAGE_BYTES,
                        )
                    opening.is_open = True
                    bytes_ = WebSocketBytes(socket, stream)
                    task_status.started(bytes_)
                    await bytes_.closed.wait()
                    nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True), Contained():
                await trio.aclose_forcefully(stream)
        if bytes_ is None:
            kind = kind_of(outcome.error) if outcome.error is not None else "closed"
            raise OpenConnectionError(f"no WebSocket handshake: {kind}") from outcome.error

    def create_listener(self, handler_function: THandler) -> TCPListener:
        """Return a listener that hands over accepted TCP streams: the handshake comes after the limits."""
        return _Listener(handler_function)

    def can_dial(self, maddr: Multiaddr) -> bool:
        """Whether this is a ws or wss address."""
        return addresses.transport_label(maddr) == "ws"

    def can_listen(self, maddr: Multiaddr) -> bool:
        """Whether this is a ws address with an IP."""
        return self.can_dial(maddr) and "wss" not in addresses.names(maddr)

    def protocols(self) -> list[str]:
        """Return the multiaddr names that lead here."""
        return ["ws", "wss"]


class _Listener(TCPListener):
    def get_addrs(self) -> tuple[Multiaddr, ...]:
        return tuple(Multiaddr(f"{address}/ws") for address in super().get_addrs())
