"""What a lane needs to come to a device and to stay on the best path to it.

Owns: the shape only; reach.py fills it, tests put a simple one in its place. Never touches: anything.
"""

from __future__ import annotations

from typing import Protocol

from covey_core.peers import PeerId


class Reach(Protocol):
    """How a lane comes to a device: a connection, a session where contents wait for one, the path to use."""

    async def connect(self, contact_id: int, peer: PeerId) -> None:
        """Have a connection to a device; Unreachable says in words what was tried."""

    async def prepare(self, contact_id: int, device_key: bytes) -> None:
        """Seal what waits for a session with the device; the connection stands."""

    def path(self, peer: PeerId) -> str:
        """Return the kind of the path that is used to a device."""

    def use(self, peer: PeerId) -> int | None:
        """Return the number of the connection to use to a device; None leaves it to the host."""

    def in_flight(self, peer: PeerId, *, flag: bool) -> None:
        """Packets to the device are on their way, or none are any more."""

    def acknowledged(self, peer: PeerId, number: int | None) -> None:
        """An acknowledgement came over this connection."""

    def carried(self, peer: PeerId, number: int | None, size: int) -> None:
        """`size` bytes of packets were written to this connection."""
