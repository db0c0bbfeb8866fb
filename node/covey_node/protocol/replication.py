"""When enough mailboxes have a packet.

Owns: the quorum and what is shown of copies. Spec: docs/spec/delivery.md, "Mailboxes".
Never touches: sockets, trio, the database, the clock, randomness.
"""

from __future__ import annotations

from dataclasses import dataclass


def quorum(replicas: int) -> int:
    """Return how many of so many replicas (1 or more) must have a packet before it is called stored."""
    return replicas // 2 + 1


@dataclass(frozen=True, slots=True)
class Copies:
    """How many of a device's `of` replicas have a packet."""

    stored: int
    of: int

    @property
    def enough(self) -> bool:
        """Whether the packet is stored: a quorum has it."""
        return self.of > 0 and self.stored >= quorum(self.of)

    def __str__(self) -> str:
        """Return it as people read it: `2/3`."""
        return f"{self.stored}/{self.of}"
