"""The event stream: what happens in the node, as server-sent events.

Owns: one client's buffer, the stream's frames, when a client is cut off. Spec: docs/spec/api.md, section 7;
WHATWG HTML, section 9.2 "Server-sent events". Never touches: what the events mean.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import trio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from covey_node.api.limits import STREAM_BUFFER_BYTES, STREAM_BUFFER_EVENTS, STREAM_HEARTBEAT_SECONDS
from covey_node.service.port import EventView

HEARTBEAT = b":\n\n"


def frame(kind: str, data: object, event_id: int | None = None) -> bytes:
    """Encode one event; JSON holds no raw line break, so that one `data` line is enough."""
    head = f"id: {event_id}\n" if event_id is not None else ""
    return f"{head}event: {kind}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


class Buffer:
    """What one client has not been sent yet: at most `limit_events` events and `limit_bytes` bytes."""

    def __init__(self, *, limit_bytes: int = STREAM_BUFFER_BYTES, limit_events: int = STREAM_BUFFER_EVENTS) -> None:
        self._frames: deque[bytes] = deque()
        self._size = 0
        self._limit_bytes = limit_bytes
        self._limit_events = limit_events
        self._changed = trio.Event()
        self._ended = False

    def put(self, data: bytes) -> bool:
        """Add a frame; False when there is no room: the client is too slow."""
        if len(self._frames) >= self._limit_events or (self._frames and self._size + len(data) > self._limit_bytes):
            return False
        self._frames.append(data)
        self._size += len(data)
        self._changed.set()
        return True

    def end(self, last: bytes) -> None:
        """Add the last frame, for which there is always room."""
        if not self._ended:
            self._ended = True
            self._frames.append(last)
            self._changed.set()

    async def take(self) -> tuple[bytes, bool]:
        """Wait for frames; return all that wait, and whether they are the last."""
        await self._changed.wait()
        data = b"".join(self._frames)
        self._frames.clear()
        self._size = 0
        self._changed = trio.Event()
        return data, self._ended


class EventStream(Response):
    """One client's stream. It ends with an event `end` that says why: `slow`, `shutdown` or `closed`."""

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AbstractAsyncContextManager[AsyncIterator[EventView]],
        *,
        after: int | None,
        kinds: frozenset[str],
        shutdown: trio.Event,
    ) -> None:
        super().__init__(media_type=self.media_type)
        del self.headers["content-length"]
        self.headers["x-accel-buffering"] = "no"
        self._events = events
        self._last = after
        self._kinds = kinds
        self._shutdown = shutdown

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the client leaves, is too slow, or the node stops."""
        buffer = Buffer()
        async with trio.open_nursery() as nursery:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            nursery.start_soon(self._pump, buffer)
            nursery.start_soon(self._end_at_shutdown, buffer)
            nursery.start_soon(_leave_with_client, receive, nursery.cancel_scope)
            await _write(buffer, send)
            nursery.cancel_scope.cancel()

    async def _pump(self, buffer: Buffer) -> None:
        """Move events into the buffer; never wait for the client, so that the node never waits for it."""
        async with self._events as events:
            buffer.put(HEARTBEAT)  # the client learns that it is subscribed
            async for event in events:
                if self._last is not None and event.id > self._last + 1:
                    buffer.put(frame("gap", {"after": self._last, "next": event.id}))
                if self._kinds and event.kind not in self._kinds:
                    self._last = event.id
                    continue
                if not buffer.put(frame(event.kind, event.data, event.id)):
                    buffer.end(frame("end", {"reason": "slow", "after": self._last}))
                    return
                self._last = event.id
        buffer.end(frame("end", {"reason": "closed", "after": self._last}))

    async def _end_at_shutdown(self, buffer: Buffer) -> None:
        await self._shutdown.wait()
        buffer.end(frame("end", {"reason": "shutdown", "after": self._last}))


async def _write(buffer: Buffer, send: Send) -> None:
    ended = False
    while not ended:
        data = HEARTBEAT
        with trio.move_on_after(STREAM_HEARTBEAT_SECONDS):
            data, ended = await buffer.take()
        await send({"type": "http.response.body", "body": data, "more_body": not ended})


async def _leave_with_client(receive: Receive, scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
