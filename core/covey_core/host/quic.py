"""QUIC for the host: which socket a dial leaves from, and how what comes in gets into the table of connections.

Owns: the endpoints. Spec: libp2p specs, quic; docs/spec/host.md. Never touches: packets, admission.
"""

import ipaddress
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import trio
from libp2p.crypto.keys import KeyPair
from libp2p.peer.id import ID
from libp2p.security.noise.exceptions import PeerIDMismatchesPubkey
from libp2p.transport.exceptions import OpenConnectionError, SecurityUpgradeFailure
from multiaddr import Multiaddr

from covey_core.host import addresses, limits
from covey_core.host.quic_connection import Place, QuicMuxed
from covey_core.host.quic_endpoint import QuicEndpoint
from covey_core.host.quic_tls import credentials

_SPRAY_BYTES: Final = 64
_ANY: Final = {False: "0.0.0.0", True: "::"}  # noqa: S104 - sockets that only dial


class Quic:
    """The UDP sockets of a host. Their tasks run in `tasks`, a nursery of `open_host`."""

    def __init__(
        self,
        keys: KeyPair,
        *,
        tasks: trio.Nursery,
        liveness: tuple[float, float],
        may_accept: Callable[[str], bool],
        serve: Callable[[QuicMuxed], Awaitable[None]],
    ) -> None:
        self._own: Final = credentials(keys)
        self._tasks: Final = tasks
        self._liveness: Final = liveness
        self._may_accept: Final = may_accept
        self._serve: Final = serve
        self._listening: list[QuicEndpoint] = []
        self._dialing: dict[bool, QuicEndpoint] = {}

    @property
    def listening(self) -> bool:
        """Whether there is a socket that is listened on."""
        return bool(self._listening)

    def listen(self, address: Multiaddr) -> QuicEndpoint:
        """Listen on /ip4|ip6/A/udp/P/quic-v1; `SettingsInvalid` when the port is taken."""
        ip, port = _ip_and_port(address)
        endpoint = QuicEndpoint(
            ip,
            port,
            own=self._own,
            tasks=self._tasks,
            liveness=self._liveness,
            may_accept=self._may_accept,
            serve=self._serve,
        )
        self._listening.append(endpoint)
        self._tasks.start_soon(endpoint.run)
        return endpoint

    async def dial(self, address: Multiaddr, peer_id: ID) -> QuicMuxed:
        """Return a connection to `peer_id` at this address, from the listening socket, within 5 s.

        It stands but is not in the table yet (`swarm.add_conn`). Raises libp2p's transport errors, `OSError`,
        `trio.TooSlowError`.
        """
        ip, port = _ip_and_port(address)
        endpoint = self._endpoint_for(ip)
        with trio.fail_after(limits.UPGRADE_SECONDS):
            connection = await endpoint.dial(_place(ip, port))
        if connection.peer_id != peer_id:
            connection.hang_up(limits.QUIC_BAD_CERTIFICATE)
            raise SecurityUpgradeFailure("another peer than expected answered") from PeerIDMismatchesPubkey()
        return connection

    def spray(self, address: Multiaddr) -> None:
        """Send one random datagram there, from the socket that a dial would leave from: it opens the NAT's way in."""
        ip, port = _ip_and_port(address)
        self._endpoint_for(ip).spray(_place(ip, port), secrets.token_bytes(_SPRAY_BYTES))

    async def close(self) -> None:
        """Close all sockets."""
        for endpoint in [*self._listening, *self._dialing.values()]:
            await endpoint.close()
        self._listening.clear()
        self._dialing.clear()

    def _endpoint_for(self, ip: str) -> QuicEndpoint:
        """Return the socket from which this IP can be reached: one that is listened on where there is such a one."""
        is_ipv6 = ":" in ip
        target = ipaddress.ip_address(ip)
        fitting = [one for one in self._listening if one.is_ipv6 == is_ipv6 and _reaches(one.ip, target)]
        if fitting:
            return max(fitting, key=lambda one: one.ip == _ANY[is_ipv6])
        if is_ipv6 not in self._dialing:
            endpoint = QuicEndpoint(_ANY[is_ipv6], 0, own=self._own, tasks=self._tasks, liveness=self._liveness)
            self._dialing[is_ipv6] = endpoint
            self._tasks.start_soon(endpoint.run)
        return self._dialing[is_ipv6]


def _reaches(bound: str, target: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether a socket bound to one IP can send there: loopback only to loopback, others not."""
    own = ipaddress.ip_address(bound.partition("%")[0])
    return own.is_unspecified or own.is_loopback == target.is_loopback


def _ip_and_port(address: Multiaddr) -> tuple[str, int]:
    ip = addresses.ip_of(address)
    if ip is None or addresses.names(address)[1:3] != ("udp", "quic-v1"):
        raise OpenConnectionError("not a QUIC address with an IP")
    return ip, int(address.value_for_protocol("udp") or 0)


def _place(ip: str, port: int) -> Place:
    return (ip, port, 0, 0) if ":" in ip else (ip, port)


def listen_addresses(found: Sequence[Multiaddr]) -> tuple[Multiaddr, ...]:
    """Return those of the listen addresses that are QUIC's."""
    return tuple(one for one in found if addresses.transport_label(one) == "quic")
