"""The dials to one address within a punch: TCP again and again from the listening port, QUIC after a first datagram.

Owns: their pace, their roles, the names of their failures. Spec: docs/spec/host.md; libp2p specs, DCUtR.
Never touches: the window, other addresses, who won.
"""

import errno
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import trio
from libp2p.abc import IRawConnection
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.exceptions import SwarmException
from libp2p.peer.id import ID
from libp2p.security.noise.exceptions import PeerIDMismatchesPubkey
from libp2p.transport.exceptions import OpenConnectionError, SecurityUpgradeFailure
from multiaddr import Multiaddr

from covey_core.host import addresses, limits, tcp, transports
from covey_core.host.contained import Contained, system_error_in
from covey_core.host.swarm import CoveySwarm, WrongPeer

_REASONS: Final = {
    errno.ECONNREFUSED: "refused",
    errno.ETIMEDOUT: "timeout",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
    errno.EPERM: "unreachable",
    errno.EACCES: "unreachable",
    errno.EINVAL: "unreachable",
    errno.EADDRNOTAVAIL: "port_taken",
    errno.EADDRINUSE: "port_taken",
}
_FINAL: Final = frozenset({"unreachable", "wrong_peer", "no_transport"})
"""What another try within seconds does not change."""


class Pace:
    """TCP goes before QUIC, of which a Python process carries a hundredth (docs/benchmarks.md)."""

    def __init__(self) -> None:
        self._began: Final = trio.current_time()
        self._shaking = 0
        self._still = trio.Event()

    @contextmanager
    def tcp_handshake(self) -> Iterator[None]:
        """Say that a TCP connection stands and is being upgraded, for the length of the block."""
        self._shaking += 1
        try:
            yield
        finally:
            self._shaking -= 1
            if not self._shaking:
                self._still.set()
                self._still = trio.Event()

    async def quic_turn(self) -> None:
        """Return 0.15 s after the beginning, or as soon as no TCP handshake is under way, within a second."""
        await trio.sleep_until(self._began + limits.PUNCH_QUIC_AFTER_SECONDS)
        with trio.move_on_at(self._began + limits.PUNCH_QUIC_AT_LAST_SECONDS):
            while self._shaking:
                await self._still.wait()


class Dials:
    """The dials to one address of one peer."""

    def __init__(self, swarm: CoveySwarm, target: ID, pace: Pace, *, client: bool) -> None:
        self._swarm: Final = swarm
        self._pace: Final = pace
        self._target: Final = target
        self._is_client: Final = client

    async def run(self, address: Multiaddr, *, failed: Callable[[str], None]) -> None:
        """Dial until it is cancelled, or a connection stands, or another try would be useless. Tells each failure."""
        quic = addresses.transport_label(address) == "quic"
        if quic and not self._is_client:
            await self._spray(address)
            return
        if quic:
            self._send(address)
            await self._pace.quic_turn()
        for _ in range(limits.PUNCH_TRIES):
            began = trio.current_time()
            with trio.move_on_after(limits.PUNCH_TRY_SECONDS), Contained() as outcome:
                await (self._dial_quic(address) if quic else self._dial_tcp(address))
                return
            reason = reason_of(outcome.error)
            failed(reason)
            if reason in _FINAL:
                return
            pause = random.uniform(*limits.PUNCH_PAUSE_SECONDS)  # noqa: S311 - out of step with the peer's, no secret
            await trio.sleep_until(began + pause)

    async def _dial_tcp(self, address: Multiaddr) -> None:
        """Connect from the listening port, nowhere else: the peer's NAT waits for exactly that one."""
        place = transports.tcp_place(address)
        source = tcp.source_for(place[0], self._swarm.tcp_places())
        stream = await tcp.dial(place, source, may_leave_elsewhere=False)
        raw = RawConnection(stream, initiator=self._is_client, addresses=[address])
        if self._is_client:
            with self._pace.tcp_handshake():
                await self._swarm.upgrade(raw, self._target, expected=self._target, punched=True)
            return
        shaken = _Outcome()
        self._swarm.run_on(lambda: self._serve(raw, shaken))
        await shaken.ended.wait()
        if shaken.error is not None:
            raise shaken.error

    async def _serve(self, raw: IRawConnection, shaken: "_Outcome") -> None:
        """Be the listener of the handshake, to its end: only the client may give a connection up that the other has.

        Were both to drop what was not their own first one, a TCP and a QUIC connection could fall together.
        """
        with Contained() as outcome:
            await self._swarm.upgrade(raw, None, expected=self._target, punched=True)
        shaken.error = outcome.error
        shaken.ended.set()

    async def _dial_quic(self, address: Multiaddr) -> None:
        quic = self._swarm.quic
        if quic is None:
            raise OpenConnectionError("this host speaks no QUIC")
        muxed = await quic.dial(address, self._target)
        await self._swarm.add_conn(muxed, "outbound", from_listen_port=quic.listening, punched=True)

    async def _spray(self, address: Multiaddr) -> None:
        for _ in range(limits.SPRAY_DATAGRAMS):
            self._send(address)
            await trio.sleep(random.uniform(*limits.SPRAY_SECONDS))  # noqa: S311 - out of step with the peer's, no secret

    def _send(self, address: Multiaddr) -> None:
        """Send one datagram there: our NAT lets the peer's in from now on."""
        if self._swarm.quic is None:
            raise OpenConnectionError("this host speaks no QUIC")
        with Contained():
            self._swarm.quic.spray(address)


class _Outcome:
    """How a handshake ended that another task carries."""

    def __init__(self) -> None:
        self.ended: Final = trio.Event()
        self.error: Exception | None = None


def reason_of(error: Exception | None) -> str:
    """Return a failure's name, as `PunchAddress.reason` has it; "timeout" when there is no error."""
    if error is None or isinstance(error, trio.TooSlowError):
        return "timeout"
    if isinstance(error, WrongPeer) or isinstance(error.__cause__, PeerIDMismatchesPubkey):
        return "wrong_peer"
    system = system_error_in(error)
    if system is not None and system.errno in _REASONS:
        return _REASONS[system.errno]
    if isinstance(error, OpenConnectionError):
        return "no_transport"
    return "negotiation" if isinstance(error, SecurityUpgradeFailure | SwarmException) else "failed"
