"""What stands before every route: whose page asks (Host, Origin), the token, the size of the request.

Owns: the checks and their order. Spec: docs/spec/api.md, section 3. Never touches: routes, the node.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping

import trio
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from covey_node.api.errors import ErrorCode, answer
from covey_node.api.limits import BODY_BYTES, BODY_SECONDS

OPEN_PATHS = frozenset({"/livez", "/readyz"})  # a health check has no token; they tell nothing but the state
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


class Guard:
    """An ASGI application that lets only good requests through to `app`, with their body read."""

    def __init__(self, app: ASGIApp, *, token: str) -> None:
        self._app = app
        self._token = token.encode("ascii")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or pass on one request."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(headers, scope["path"])
        body = b""
        if refusal is None:
            read = await _read_body(headers, receive)
            if isinstance(read, bytes):
                body = read
            else:
                refusal = read
        if refusal is not None:
            response = answer(*refusal)
            response.headers["connection"] = "close"  # an unread body must not be taken for the next request
            await response(scope, receive, _plain(send))
            return
        await self._app(scope, _replay(body, receive), _plain(send))

    def _refusal(self, headers: Mapping[str, str], path: str) -> tuple[ErrorCode, str] | None:
        host = headers.get("host", "")
        if _host_name(host) not in LOOPBACK_NAMES:
            return ErrorCode.FORBIDDEN, "the Host header must name this machine: 127.0.0.1, localhost or [::1]"
        origin = headers.get("origin")
        if origin is not None and origin != f"http://{host}":
            return ErrorCode.FORBIDDEN, "requests from other sites' pages are refused (Origin header)"
        if headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
            return ErrorCode.FORBIDDEN, "requests from other sites' pages are refused (Sec-Fetch-Site header)"
        if path in OPEN_PATHS:
            return None
        scheme, _, token = headers.get("authorization", "").partition(" ")
        good = hmac.compare_digest(token.strip().encode("utf-8", "replace"), self._token)
        if scheme.lower() != "bearer" or not good:
            return ErrorCode.UNAUTHORIZED, "send the header Authorization: Bearer <content of api.token>"
        return None


def _host_name(host: str) -> str:
    """Return the Host header's name without its port; any port is right: an SSH tunnel has another one than we."""
    if host.startswith("["):
        name, bracket, rest = host.partition("]")
        return name + bracket if not rest or rest.startswith(":") else ""
    return host.partition(":")[0].lower()


async def _read_body(headers: Mapping[str, str], receive: Receive) -> bytes | tuple[ErrorCode, str]:
    too_large = ErrorCode.TOO_LARGE, f"the request's body is over the limit of {BODY_BYTES} bytes"
    declared = headers.get("content-length", "0")
    if declared.isascii() and declared.isdecimal() and int(declared) > BODY_BYTES:
        return too_large
    body = bytearray()
    with trio.move_on_after(BODY_SECONDS):
        while True:
            message = await receive()
            if message["type"] != "http.request":
                break
            body += message.get("body", b"")
            if len(body) > BODY_BYTES:
                return too_large
            if not message.get("more_body", False):
                return bytes(body)
    return ErrorCode.BODY_TIMEOUT, f"the request's body did not come within {BODY_SECONDS} s"


def _replay(body: bytes, receive: Receive) -> Receive:
    waiting = [body]

    async def replayed() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return replayed


def _plain(send: Send) -> Send:
    """Add the headers of every answer: nothing of a conversation belongs in a cache."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            extra = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]
            message = {**message, "headers": [*message.get("headers", []), *extra]}
        await send(message)

    return sent
