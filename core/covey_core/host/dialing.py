"""Having a direct connection to a peer: the addresses one after the other, each joined by the next.

Owns: who is being dialed (once at a time), and the reasons why it failed. Spec: docs/spec/host.md; RFC 8305.
Never touches: how one address is dialed (swarm.py), circuits.
"""

from collections.abc import Sequence
from typing import Final

import trio
from libp2p.network.exceptions import SwarmException
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from covey_core.errors import CoveyError, StreamLost, Unreachable
from covey_core.host import addresses, limits
from covey_core.host.connection import Connection
from covey_core.host.contained import Contained
from covey_core.host.opening import libp2p_id
from covey_core.host.swarm import CoveySwarm
from covey_core.peers import PeerId, short


class Dialing:
    """The dials of one host."""

    def __init__(self, swarm: CoveySwarm, *, me: PeerId) -> None:
        self._swarm: Final = swarm
        self._me: Final = me
        self._dialing: dict[PeerId, trio.Lock] = {}

    async def connect(self, peer: PeerId, addrs: Sequence[str], *, timeout_seconds: float) -> None:
        """Have a direct, admitted connection to `peer`; `Unreachable` with the reason of every address.

        Waiting for somebody else's dials to the peer counts: they may be to addresses that a third party named.
        """
        target = libp2p_id(peer)
        if peer == self._me:
            raise Unreachable("that is this host itself")
        reasons: list[str] = []
        with trio.move_on_after(timeout_seconds) as scope:
            async with self._dialing.setdefault(peer, trio.Lock()):
                try:
                    if await self._has_direct(target):
                        return
                    if await self._dial_any(target, dialable(addrs, peer, reasons), reasons):
                        return
                finally:
                    if not self._dialing[peer].statistics().tasks_waiting:
                        del self._dialing[peer]
        if scope.cancelled_caught:
            reasons.append(f"no answer within {timeout_seconds:g} s")
        raise Unreachable(
            f"no connection to {short(peer)}: {'; '.join(dict.fromkeys(reasons)) or 'no address to dial'}"
        )

    async def dial_also(self, peer: PeerId, addr: str) -> Connection:
        """Dial one address although there may be a connection; returns it admitted, `Unreachable` otherwise."""
        target = libp2p_id(peer)
        if peer == self._me:
            raise Unreachable("that is this host itself")
        reasons: list[str] = []
        for address in dialable([addr], peer, reasons):
            try:
                connection = await self._swarm.dial(address, target)
                await connection.wait_admitted(limits.OPEN_STREAM_SECONDS)
            except (SwarmException, StreamLost) as exc:
                raise Unreachable(f"no connection to {short(peer)}: {address}: {exc}") from exc
            return connection
        raise Unreachable(f"no connection to {short(peer)}: {'; '.join(reasons)}")

    async def _has_direct(self, target: ID) -> bool:
        for connection in self._swarm.best(target):
            if not connection.relayed:
                with Contained() as outcome:
                    await connection.wait_admitted(limits.OPEN_STREAM_SECONDS)
                if outcome.error is None:
                    return True
        return False

    async def _dial_any(self, target: ID, found: Sequence[Multiaddr], reasons: list[str]) -> bool:
        """Dial one address after the other, each as soon as the one before has failed or taken 0.25 s. RFC 8305."""
        won: list[Connection] = []

        async def dial(address: Multiaddr, failed: trio.Event, scope: trio.CancelScope) -> None:
            try:
                connection = await self._swarm.dial(address, target)
                await connection.wait_admitted(limits.OPEN_STREAM_SECONDS)
            except (SwarmException, StreamLost) as exc:
                reasons.append(f"{address}: {exc}")
                failed.set()
                return
            won.append(connection)
            scope.cancel()

        async with trio.open_nursery() as nursery:
            for address in found:
                failed = trio.Event()
                nursery.start_soon(dial, address, failed, nursery.cancel_scope)
                with trio.move_on_after(limits.NEXT_ADDRESS_SECONDS):
                    await failed.wait()
        return bool(won)


def dialable(texts: Sequence[str], peer: PeerId, reasons: list[str]) -> list[Multiaddr]:
    """Return the direct addresses of `peer` among `texts`, 8 at most; why others are none is added to `reasons`."""
    found: list[Multiaddr] = []
    for text in texts:
        try:
            address, named = addresses.split_peer(addresses.parse(text))
        except CoveyError as exc:
            reasons.append(str(exc))
            continue
        if named not in {None, peer}:
            reasons.append(f"{text} names another peer")
        elif addresses.is_circuit(address):
            reasons.append("a circuit address is not dialed directly")
        elif address not in found:
            found.append(address)
    return found[: limits.DIALED_ADDRESSES]
