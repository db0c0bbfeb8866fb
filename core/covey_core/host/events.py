"""Who came and who went, told to those who ask without ever waiting for them.

Owns: the subscribers' queues. Spec: docs/spec/host.md. Never touches: the connections.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import trio

from covey_core.host import limits
from covey_core.host.connection import ConnectionInfo
from covey_core.peers import PeerId


@dataclass(frozen=True, slots=True)
class Connected:
    """A connection stands and both sides are admitted."""

    connection: ConnectionInfo

    @property
    def peer(self) -> PeerId:
        """Whose connection it is."""
        return self.connection.peer


@dataclass(frozen=True, slots=True)
class Disconnected:
    """A connection of which `Connected` was told has ended; `left` others to the same peer go on."""

    connection: ConnectionInfo
    left: int

    @property
    def peer(self) -> PeerId:
        """Whose connection it was."""
        return self.connection.peer


@dataclass(frozen=True, slots=True)
class Identified:
    """A peer has said, on this connection, who it is and at which address it sees us (identify)."""

    connection: ConnectionInfo

    @property
    def peer(self) -> PeerId:
        """Whose connection it is."""
        return self.connection.peer


Event = Connected | Disconnected


class _Queue:
    """One subscriber's queue: full, it loses its oldest event."""

    def __init__(self, *, identified: bool) -> None:
        self.send, self.receive = trio.open_memory_channel[Any](limits.EVENTS_QUEUED)
        self._identified = identified

    def put(self, event: Event | Identified) -> None:
        if isinstance(event, Identified) and not self._identified:
            return
        while True:
            try:
                self.send.send_nowait(event)
            except trio.WouldBlock:
                self.receive.receive_nowait()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return
            else:
                return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.send.close()
        self.receive.close()


class Events:
    """Hands every event to every subscriber; never blocks."""

    def __init__(self) -> None:
        self._queues: list[_Queue] = []

    def publish(self, event: Event | Identified) -> None:
        """Queue the event for everybody who is subscribed now."""
        for queue in self._queues:
            queue.put(event)

    @contextmanager
    def subscribe(self, *, identified: bool = False) -> Iterator["trio.MemoryReceiveChannel[Any]"]:
        """Give a channel of the events from now on, with `Identified` if asked for.

        One that is 1,024 events behind loses its oldest.
        """
        with _Queue(identified=identified) as queue:
            self._queues.append(queue)
            try:
                yield queue.receive
            finally:
                self._queues.remove(queue)

    def close(self) -> None:
        """End every subscriber's channel after what is queued."""
        for queue in self._queues:
            queue.send.close()
