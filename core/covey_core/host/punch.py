"""A connection through two NATs: both sides dial each other's addresses at the same time.

Owns: one such try, its window and what became of each address. Spec: docs/spec/host.md, docs/spec/dcutr.md;
libp2p specs, DCUtR. Never touches: the agreement on when (the node's puncher), which addresses are named.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import trio
from libp2p.network.exceptions import SwarmException
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from covey_core.errors import StreamLost
from covey_core.host import addresses, limits
from covey_core.host.connection import Connection, ConnectionInfo
from covey_core.host.swarm import CoveySwarm


@dataclass(frozen=True, slots=True)
class PunchAddress:
    """What became of one address: `outcome` success, failed or cancelled; `reason` of a failure, "" otherwise."""

    addr: str
    transport: str
    ip_version: str
    outcome: str
    reason: str


@dataclass(frozen=True, slots=True)
class PunchResult:
    """The connection that came to stand, or None; and every address that was tried."""

    connection: ConnectionInfo | None
    addresses: tuple[PunchAddress, ...]


class Punch:
    """One window in which one peer is dialed at all its addresses."""

    def __init__(self, swarm: CoveySwarm, target: ID, *, client: bool) -> None:
        self._swarm: Final = swarm
        self._target: Final = target
        self._client: Final = client
        self._won: list[Connection] = []

    async def run(self, found: Sequence[Multiaddr], *, window_seconds: float) -> PunchResult:
        """Dial until the first connection stands or the window ends."""
        reasons: dict[Multiaddr, str] = {}

        async def attempt(address: Multiaddr, scope: trio.CancelScope) -> None:
            try:
                connection = await self._swarm.dial(address, self._target)
                await connection.wait_admitted(limits.OPEN_STREAM_SECONDS)
            except (SwarmException, StreamLost) as exc:
                reasons[address] = str(exc)
                return
            connection.punched = True
            self._won.append(connection)
            scope.cancel()

        with trio.move_on_after(window_seconds):
            async with trio.open_nursery() as nursery:
                for address in found:
                    nursery.start_soon(attempt, address, nursery.cancel_scope)
        return PunchResult(
            self._won[0].info() if self._won else None,
            tuple(
                PunchAddress(
                    str(address),
                    addresses.transport_label(address),
                    addresses.ip_version_label(address),
                    "success" if self._won and self._won[0].remote == address else "failed",
                    reasons.get(address, "timeout"),
                )
                for address in found
            ),
        )
