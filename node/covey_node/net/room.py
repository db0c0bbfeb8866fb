"""A bound on bytes in memory that several streams share.

Owns: how much is taken, and who waits for room. Never touches: the bytes.
"""

from __future__ import annotations

import trio


class Room:
    """Room for `limit_bytes`; a single piece larger than that is let in alone."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._taken = 0
        self._freed = trio.Event()

    @property
    def taken_bytes(self) -> int:
        """How much is taken now."""
        return self._taken

    async def take(self, size: int) -> None:
        """Wait until there is room for `size` bytes, and take it."""
        while self._taken and self._taken + size > self._limit_bytes:
            await self._freed.wait()
        self._taken += size

    def give(self, size: int) -> None:
        """Give `size` bytes back."""
        self._taken -= size
        self._freed.set()
        self._freed = trio.Event()


class Held:
    """What one stream has taken of a room: given back in parts, and all of it at the stream's end."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._bytes = 0

    async def take(self, size: int) -> None:
        """Wait for room and take it."""
        await self._room.take(size)
        self._bytes += size

    def give(self, size: int) -> None:
        """Give a part back."""
        self._bytes -= size
        self._room.give(size)

    def give_all(self) -> None:
        """Give back what is left."""
        self.give(self._bytes)
