"""A connection through two NATs: both sides dial all of each other's addresses at the same time.

Owns: one such window, its dials, and what became of each address. Spec: docs/spec/host.md, docs/adr/0051;
libp2p specs, DCUtR. Never touches: the agreement on when, and which addresses are named (the node's puncher).
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

import trio
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from covey_core.errors import CoveyError, StreamLost
from covey_core.host import addresses, limits
from covey_core.host.connection import Connection, ConnectionInfo
from covey_core.host.contained import Contained
from covey_core.host.punch_dials import Dials, Pace, reason_of
from covey_core.host.swarm import CoveySwarm
from covey_core.network import Scope


@dataclass(frozen=True, slots=True)
class PunchAddress:
    """What became of one address: `outcome` success, failed or cancelled (another one was quicker).

    `reason` of a failure: refused, timeout, unreachable, port_taken, negotiation, wrong_peer, not_admitted,
    not_allowed, no_transport, too_many, busy; "" otherwise.
    """

    addr: str
    transport: str
    ip_version: str
    outcome: str
    reason: str


@dataclass(frozen=True, slots=True)
class PunchResult:
    """The connection that came to stand, or None; and every address, also one that only the winner came from."""

    connection: ConnectionInfo | None
    addresses: tuple[PunchAddress, ...]


class Punch:
    """One window in which one peer is dialed."""

    def __init__(self, swarm: CoveySwarm, target: ID, scope: Scope, *, client: bool) -> None:
        self.target: Final = target
        self.is_client: Final = client
        self.ips: frozenset[str] = frozenset()
        self._pace: Final = Pace()
        self._swarm: Final = swarm
        self._scope: Final = scope
        self._arrived, self._arrivals = trio.open_memory_channel[Connection](limits.MAX_CONNECTIONS_PER_PEER)
        self._won: Connection | None = None
        self._failed: dict[str, str] = {}
        self._opened_at: Final = trio.current_time()

    async def run(self, addrs: Sequence[str], *, window_seconds: float) -> PunchResult:
        """Dial until the first direct connection is admitted or the window ends."""
        found = self._allowed(addrs)
        if len(self._swarm.punches) >= limits.PUNCHES:
            self._failed.update((str(one), "busy") for one in found)
            return self._result(addrs)
        self.ips = frozenset(ip for ip in map(addresses.ip_of, found) if ip is not None)
        self._swarm.punches.add(self)
        try:
            with trio.move_on_after(window_seconds):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._await_winner, nursery)
                    for address in found:
                        nursery.start_soon(self._dial, address)
        finally:
            self._swarm.punches.discard(self)
        return self._result(addrs)

    def tcp_handshake(self) -> AbstractContextManager[None]:
        """Say that a TCP connection stands and is being upgraded, for the length of the block."""
        return self._pace.tcp_handshake()

    def met(self, connection: Connection) -> None:
        """Hear of a new connection, whoever's it is: a direct one of the peer may be what we are waiting for."""
        if connection.relayed or connection.muxed_conn.peer_id != self.target:
            return
        if connection.inbound:
            connection.punched = True
        with Contained():
            self._arrived.send_nowait(connection)

    async def _await_winner(self, nursery: trio.Nursery) -> None:
        async def admitted(connection: Connection) -> None:
            try:
                await connection.wait_admitted(limits.OPEN_STREAM_SECONDS)
            except StreamLost:
                self._failed.setdefault(str(connection.remote), "not_admitted")
            else:
                self._won = self._won or connection
                nursery.cancel_scope.cancel()

        for young in self._swarm.best(self.target):
            if not young.relayed and self._opened_at - young.opened_at < limits.SIMULTANEOUS_SECONDS:
                self.met(young)
        async for connection in self._arrivals:
            nursery.start_soon(admitted, connection)

    async def _dial(self, address: Multiaddr) -> None:
        dials = Dials(self._swarm, self.target, self._pace, client=self.is_client)
        with Contained() as outcome:
            await dials.run(address, failed=lambda reason: self._failed.__setitem__(str(address), reason))
        if outcome.error is not None:
            self._failed[str(address)] = reason_of(outcome.error)

    def _allowed(self, addrs: Sequence[str]) -> list[Multiaddr]:
        found: list[Multiaddr] = []
        for text in addrs:
            try:
                address, named = addresses.split_peer(addresses.parse(text))
            except CoveyError:
                self._failed[text] = "not_allowed"
                continue
            ip = addresses.ip_of(address)
            is_wrong = ip is None or named not in {None, self.target.to_base58()}
            if is_wrong or not (self._scope.may_dial(str(ip)) or self._scope.may_dial_nearby(str(ip))):
                self._failed[str(address)] = "not_allowed"
            elif addresses.transport_label(address) not in {"tcp", "quic"}:
                self._failed[str(address)] = "no_transport"
            elif len(found) >= limits.PUNCHED_ADDRESSES:
                self._failed[str(address)] = "too_many"
            elif address not in found:
                found.append(address)
        return found

    def _result(self, addrs: Sequence[str]) -> PunchResult:
        won = None if self._won is None else str(self._won.remote)
        texts = addresses.without_duplicates([_bare(text) for text in addrs] + ([won] if won is not None else []))
        return PunchResult(
            None if self._won is None else self._won.info(), tuple(self._outcome(text, won) for text in texts)
        )

    def _outcome(self, text: str, won: str | None) -> PunchAddress:
        outcome, reason = "failed", self._failed.get(text, "timeout")
        if text == won:
            outcome, reason = "success", ""
        elif won is not None and text not in self._failed:
            outcome, reason = "cancelled", ""
        with Contained():
            address = addresses.parse(text)
            labels = addresses.transport_label(address), addresses.ip_version_label(address)
            return PunchAddress(text, *labels, outcome, reason)
        return PunchAddress(text[: limits.AGENT_CHARS], "other", "ip4", outcome, reason)


def _bare(text: str) -> str:
    with Contained():
        return str(addresses.split_peer(addresses.parse(text))[0])
    return text
