"""A relay that keeps a slot for us, watched: its connections are asked whether they live, TCP and QUIC side by side.

Owns: the probes of one relay's connections, and the second connection that tells how the router maps the other
transport. Spec: docs/spec/circuit.md, "Watching a relay". Never touches: slots, circuits.
"""

from __future__ import annotations

import random

import trio

from covey_core.errors import CoveyError
from covey_core.host import ConnectionInfo, Host
from covey_core.logs import get_logger
from covey_core.peers import PeerId
from covey_node import limits
from covey_node.net.alarm import Alarm
from covey_node.protocol.addresses import host_of
from covey_node.protocol.backoff import Backoff

log = get_logger("node.relays")

_BESIDE = Backoff(limits.RELAY_BESIDE_SECONDS_MIN, limits.RELAY_BESIDE_SECONDS_MAX)


class RelayWatch:
    """Watches one relay for as long as `run` runs."""

    def __init__(self, host: Host, peer: PeerId, addrs: tuple[str, ...], *, beside: bool = True) -> None:
        """`beside`: keep a connection over the other transport too; only a relay's host keeps both."""
        self._beside = beside
        self._host = host
        self._peer = peer
        self._addrs = addrs
        self._doubt = Alarm()
        self._in_doubt = False
        self._moved = False
        self._try_beside = Alarm()
        self.udp_is_silent = False
        """The relay answers over TCP, and the last try over QUIC came to nothing."""

    def network_changed(self) -> None:
        """Ask now, and come over QUIC anew: such a connection outlives the change, and tells of the old address."""
        self._moved = True
        self.doubt()

    def doubt(self) -> None:
        """Ask now: a circuit through the relay died silently, or our addresses are others."""
        self._in_doubt = True
        self._doubt.ring()
        self._try_beside.ring()

    async def run(self) -> None:
        """Watch until no connection is left."""
        async with trio.open_nursery() as nursery:
            if self._beside:
                nursery.start_soon(self._stay_beside)
            while self._direct():
                await self._doubt.wait(trio.current_time() + limits.RELAY_PING_SECONDS)
                patience = limits.RELAY_DOUBT_ANSWER_SECONDS if self._in_doubt else limits.RELAY_PING_ANSWER_SECONDS
                self._in_doubt = False
                if self._moved:
                    await self._leave_quic()
                async with trio.open_nursery() as probes:
                    for info in self._direct():
                        probes.start_soon(self._check, info.number, patience)
            nursery.cancel_scope.cancel()

    async def _leave_quic(self) -> None:
        self._moved = False
        for info in self._direct():
            if _is_udp(info.remote_addr):
                await self._host.close_connection(info.number)
        self._try_beside.ring()

    async def _check(self, number: int, patience_seconds: float) -> None:
        """Close a connection that leaves two probes without an answer."""
        for _ in range(2):
            with trio.move_on_after(patience_seconds):
                try:
                    await self._host.ping(self._peer, on=number)
                except CoveyError:
                    await trio.sleep(limits.RELAY_PING_AGAIN_SECONDS)
                else:
                    return
        log.debug("node.relay.silent")
        await self._host.close_connection(number)

    async def _stay_beside(self) -> None:
        """Keep a QUIC connection beside a TCP one, or the other way round: identify over each tells our mapping."""
        failures, looks = 0, 0
        while True:
            looks += 1  # what the relay names is known only after identify
            pause = 1.0 if looks <= limits.RELAY_BESIDE_LOOKS else float(limits.RELAY_PING_SECONDS)
            addr = self._missing()
            if addr is not None:
                try:
                    await self._host.dial_also(self._peer, addr)
                except CoveyError as exc:
                    failures += 1
                    pause = _BESIDE.wait_seconds(failures, random=random.random)
                    log.debug("node.relay.not_beside", problem=type(exc).__name__)
                    self.udp_is_silent = _is_udp(addr)
                else:
                    failures, self.udp_is_silent = 0, False
            await self._try_beside.wait(trio.current_time() + pause)

    def _missing(self) -> str | None:
        """Return an address of the transport over which no connection stands; None when both stand, or none."""
        standing = {_is_udp(info.remote_addr) for info in self._direct()}
        if len(standing) != 1:
            return None
        wanted = not standing.pop()
        known = [addr for addr in self._addrs if _is_udp(addr) is wanted]
        return next(iter(known or self._named(udp=wanted)), None)

    def _named(self, *, udp: bool) -> list[str]:
        """Return what the relay itself names, at the host where we reach it."""
        here = {host_of(info.remote_addr) for info in self._direct()}
        named = self._host.listen_addrs_of(self._peer)
        return [addr for addr in named if _is_udp(addr) is udp and host_of(addr) in here]

    def _direct(self) -> list[ConnectionInfo]:
        return [info for info in self._host.connections(self._peer) if info.admitted and not info.relayed]


def _is_udp(addr: str) -> bool:
    return "/udp/" in addr
