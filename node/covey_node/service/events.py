"""What happened lately, for those who watch: a bounded memory and bounded queues.

Owns: event numbers, the memory that a reconnecting client catches up from, the watchers.
Never touches: HTTP, the database. A slow watcher is cut off; nobody who publishes ever waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from covey_node import limits
from covey_node.service.port import EventView


class Events:
    """The node's event stream."""

    def __init__(self, *, first: int = 0) -> None:
        """Number events from `first` + 1; a time in milliseconds keeps the numbers of several runs apart."""
        self._number = first
        self._kept: deque[EventView] = deque(maxlen=limits.EVENTS_KEPT)
        self._watchers: set[trio.MemorySendChannel[EventView]] = set()

    def publish(self, kind: str, data: dict[str, object]) -> None:
        """Tell all watchers; one that is `limits.EVENT_BACKLOG` events behind is cut off and may catch up later."""
        self._number += 1
        event = EventView(id=self._number, kind=kind, data=data)
        self._kept.append(event)
        for watcher in list(self._watchers):
            try:
                watcher.send_nowait(event)
            except (trio.WouldBlock, trio.BrokenResourceError):
                self._watchers.discard(watcher)
                watcher.close()

    @asynccontextmanager
    async def watch(self, *, after: int | None) -> AsyncIterator[AsyncIterator[EventView]]:
        """Yield an iterator over the events after number `after`, as far back as they are kept, and what follows."""
        send, receive = trio.open_memory_channel[EventView](limits.EVENT_BACKLOG + limits.EVENTS_KEPT)
        if after is not None:
            for event in self._kept:
                if event.id > after:
                    send.send_nowait(event)
        self._watchers.add(send)
        try:
            yield receive
        finally:
            self._watchers.discard(send)
            send.close()
            receive.close()
