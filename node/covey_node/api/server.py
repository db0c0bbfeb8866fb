"""Serving the API: Hypercorn's trio connections on our own listener.

Owns: the accept loop, the connection cap, the write deadline, the order of start and stop. Spec: docs/spec/api.md.
Never touches: routes.

Hypercorn's `serve` shields its writes from cancellation, so that one client which reads nothing would hold up the
node's exit for ever. We therefore run its `TCPServer`, one connection's worth of HTTP, over a stream with a deadline.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import trio
from hypercorn.config import Config
from hypercorn.events import Event, Updated
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState, Framework
from hypercorn.utils import wrap_app

from covey_core.lifecycle import TaskStatus
from covey_core.logs import get_logger
from covey_node.api.access import hold_lock, load_or_create_token, publish
from covey_node.api.address import bind, parse_address, unbind
from covey_node.api.app import guarded, make_app
from covey_node.api.limits import BODY_BYTES, CONNECTIONS_MAX, GRACE_SECONDS, KEEP_ALIVE_SECONDS, WRITE_SECONDS
from covey_node.service.port import NodePort
from covey_node.version import version

log = get_logger("api")


async def serve_api(
    port: NodePort,
    *,
    address: str = "127.0.0.1:0",
    token_file: Path,
    home: Path,
    shutdown: trio.Event,
    task_status: TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the API until `shutdown` is set; answers under way get `GRACE_SECONDS`.

    `task_status` is given the address really bound, `http://127.0.0.1:PORT` or `unix:/path`, once api.json says so too.
    Raises `SettingsInvalid` (address, or another node on this home) and `FileDamaged` (token file).
    """
    wanted = parse_address(address, home=home)
    async with hold_lock(home):
        token = load_or_create_token(token_file)
        app = guarded(make_app(port, shutdown=shutdown), token=token)
        sock, bound = bind(wanted)
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock))
        connections = Connections(cast("Framework", app))
        async with listener:
            published = publish(home, address=bound, token_file=token_file, version=version())
            try:
                log.info("api.listener.opened", kind=type(bound).__name__)
                task_status.started(str(bound))
                await connections.serve(listener, shutdown=shutdown)
            finally:
                published.unlink(missing_ok=True)
                unbind(bound)


class Connections:
    """The open connections: at most `CONNECTIONS_MAX`; a crash in one never reaches another."""

    def __init__(self, app: Framework) -> None:
        self._app = wrap_app(app, BODY_BYTES, "asgi")
        self._config = Config()
        self._config.accesslog = None
        self._config.errorlog = None
        self._config.include_server_header = False
        self._config.keep_alive_timeout = KEEP_ALIVE_SECONDS
        self._context = WorkerContext(None)
        self._open = 0

    async def serve(self, listener: trio.SocketListener, *, shutdown: trio.Event) -> None:
        """Accept until `shutdown`, then let the open ones end."""
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                accepting.start_soon(self._accept, listener, connections)
                await shutdown.wait()
                accepting.cancel_scope.cancel()
            await self._context.terminated.set()
            connections.cancel_scope.deadline = trio.current_time() + GRACE_SECONDS

    async def _accept(self, listener: trio.SocketListener, nursery: trio.Nursery) -> None:
        await trio.serve_listeners(self._connection, [listener], handler_nursery=nursery)

    async def _connection(self, stream: trio.SocketStream) -> None:
        self._open += 1
        try:
            if self._open > CONNECTIONS_MAX:
                log.warning("api.connection.refused", limit=CONNECTIONS_MAX)
                return
            bounded = cast("Any", BoundedStream(stream))
            await Conversation(self._app, self._config, self._context, ConnectionState({}), bounded)
        except Exception as exc:  # the handler guard: a broken connection must not stop the node
            log.exception("api.connection.crashed", error=type(exc).__name__)
        finally:
            self._open -= 1
            await trio.aclose_forcefully(stream)


class Conversation(TCPServer):
    """One connection, which ends with its client: upstream keeps one that the client closed as long as an idle one."""

    _client_left = False

    async def protocol_send(self, event: Event) -> None:
        """Do what the protocol asks; nobody waits for further requests of a client that has left."""
        if not (self._client_left and isinstance(event, Updated) and event.idle):
            await super().protocol_send(event)

    async def _read_data(self) -> None:
        await super()._read_data()
        self._client_left = True
        await self.idle_task.stop()


class BoundedStream:
    """A socket stream whose writes end after `WRITE_SECONDS`, shielded or not; then it is broken."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self.socket = stream.socket

    async def send_all(self, data: bytes) -> None:
        """Send, or break the stream when the client takes nothing."""
        with trio.move_on_after(WRITE_SECONDS) as waiting:
            await self._stream.send_all(data)
        if waiting.cancelled_caught:
            await trio.aclose_forcefully(self._stream)
            raise trio.BrokenResourceError("the client does not read")

    async def receive_some(self, max_bytes: int) -> bytes:
        """Receive at most `max_bytes`; empty at the end."""
        return bytes(await self._stream.receive_some(max_bytes))

    async def send_eof(self) -> None:
        """End our direction."""
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """Close both directions."""
        await self._stream.aclose()
