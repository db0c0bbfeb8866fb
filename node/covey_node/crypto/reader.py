"""Reads fixed-size binary encodings: big-endian integers and byte strings, nothing left over.

Owns: the cursor. Never touches: what the bytes mean. Who reads a peer's bytes passes `ProtocolViolation`, who reads our
own passes `StateDamaged`.
"""

from __future__ import annotations

from covey_core.errors import CoveyError, ProtocolViolation


class Reader:
    """A cursor over bytes; every shortage raises the error class given."""

    __slots__ = ("_at", "_data", "_error")

    def __init__(self, data: bytes, error: type[CoveyError] = ProtocolViolation) -> None:
        self._data = data
        self._at = 0
        self._error = error

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        end = self._at + size
        if end > len(self._data):
            msg = f"{len(self._data)} bytes end before {end}"
            raise self._error(msg)
        part = self._data[self._at : end]
        self._at = end
        return part

    def number(self, size: int) -> int:
        """Return an unsigned big-endian integer of `size` bytes."""
        return int.from_bytes(self.take(size), "big")

    def count(self, size: int, limit: int) -> int:
        """Return a number that may be `limit` at most."""
        value = self.number(size)
        if value > limit:
            msg = f"count of {value} is over the limit of {limit}"
            raise self._error(msg)
        return value

    def flag(self) -> bool:
        """Return a byte that must be 0 or 1."""
        return self.count(1, 1) == 1

    def rest(self) -> bytes:
        """Return everything that is left."""
        return self.take(len(self._data) - self._at)

    def expect(self, value: int, what: str) -> None:
        """Take one byte that must have this value."""
        found = self.number(1)
        if found != value:
            msg = f"{what} {found} is not known"
            raise self._error(msg)

    def end(self) -> None:
        """Check that nothing is left over."""
        if self._at != len(self._data):
            msg = f"{len(self._data) - self._at} bytes too many"
            raise self._error(msg)
