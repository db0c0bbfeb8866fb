"""The operations port: /metrics, /livez and /readyz over HTTP.

Owns: the HTTP side of health and metrics. Bind it to an address that only the operator reaches. Never touches: what is
measured (metrics) or checked (health).
"""

import json
import socket
from typing import Any, Final

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, Scope
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from covey_core import limits
from covey_core.errors import SettingsInvalid
from covey_core.health import Health, Report
from covey_core.lifecycle import TaskStatus

_JSON: Final = "application/json"
_TEXT: Final = "text/plain; charset=utf-8"


async def serve_ops(
    *,
    host: str,
    port: int,
    registry: CollectorRegistry,
    health: Health,
    task_status: TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled; `await nursery.start(...)` returns the bound port (`port` 0 takes any free one).

    Raises `SettingsInvalid` when the address cannot be bound.
    """
    try:
        # Bound here, not by the server: the port is known at once, and a taken one is an error with a text.
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=limits.OPS_CONNECTIONS)
    except OSError as exc:
        raise SettingsInvalid(f"the operations port cannot listen on {host}:{port}: {exc.strerror or exc}") from exc
    bound_port: int = listener.getsockname()[1]
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.errorlog = None
    config.accesslog = None
    config.include_server_header = False
    config.keep_alive_timeout = limits.OPS_KEEP_ALIVE_SECONDS
    config.read_timeout = int(limits.OPS_READ_SECONDS)
    config.graceful_timeout = 1.0
    config.h11_max_incomplete_size = limits.OPS_REQUEST_BYTES
    config.backlog = limits.OPS_CONNECTIONS
    config.alpn_protocols = ["http/1.1"]
    task_status.started(bound_port)
    await serve(_OpsApp(registry, health), config, mode="asgi", shutdown_trigger=trio.sleep_forever)


class _OpsApp:
    """The ASGI application."""

    def __init__(self, registry: CollectorRegistry, health: Health) -> None:
        self._registry = registry
        self._health = health
        self._slots = trio.CapacityLimiter(limits.OPS_CONNECTIONS)

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Answer one request, or follow the server's life span."""
        if scope["type"] == "lifespan":
            await _follow_lifespan(receive, send)
        elif scope["type"] == "http":
            try:
                self._slots.acquire_on_behalf_of_nowait(receive)
            except trio.WouldBlock:
                await _respond(send, 503, _TEXT, b"busy\n", body=True)
                return
            try:
                status, kind, content = self._answer(scope["method"], scope["path"])
                await _respond(send, status, kind, content, body=scope["method"] != "HEAD")
            finally:
                self._slots.release_on_behalf_of(receive)

    def _answer(self, method: str, path: str) -> tuple[int, str, bytes]:
        if path not in {"/metrics", "/livez", "/readyz"}:
            return 404, _TEXT, b"/metrics, /livez, /readyz\n"
        if method not in {"GET", "HEAD"}:
            return 405, _TEXT, b"GET or HEAD\n"
        if path == "/metrics":
            return 200, CONTENT_TYPE_PLAIN_0_0_4, generate_latest(self._registry)
        report = self._health.alive() if path == "/livez" else self._health.ready()
        return (200 if report.ok else 503), _JSON, _to_json(report)


def _to_json(report: Report) -> bytes:
    body = {"ok": report.ok, "state": report.state.value, "reasons": report.reasons}
    return json.dumps(body).encode() + b"\n"


async def _respond(send: ASGISendCallable, status: int, kind: str, content: bytes, *, body: bool) -> None:
    headers = [
        (b"content-type", kind.encode()),
        (b"content-length", str(len(content)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content if body else b"", "more_body": False})


async def _follow_lifespan(receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    while True:
        event: Any = await receive()
        await send({"type": event["type"] + ".complete"})
        if event["type"] == "lifespan.shutdown":
            return
