"""Asking a router for mappings over PCP and over NAT-PMP.

Owns: the socket, retransmission, epochs as they are heard. Spec: RFC 6887, RFC 6886; docs/spec/portmap.md.
Never touches: packets' bytes (protocol/pcp.py, protocol/natpmp.py), which ports, when to renew (portmap.py).
"""

from __future__ import annotations

import hashlib
import hmac
import socket
from collections.abc import Callable
from typing import Final, Protocol, TypeVar

import trio

from covey_core.errors import ProtocolViolation
from covey_node import limits
from covey_node.net.portmap_gateway import Gateway
from covey_node.protocol import natpmp, pcp
from covey_node.protocol.portmap import Granted, Port, PortmapFailed, Via

PORT: Final = 5351  # RFC 6887 section 19.1, RFC 6886 section 3.1
_NONCE_LABEL: Final = b"covey/pcp-nonce/1"

_Answer = TypeVar("_Answer")


class Method(Protocol):
    """One way of asking a router. All raise `PortmapFailed`, and take bounded time."""

    via: Via

    async def map(self, port: Port, wanted: Granted | None, /) -> Granted:
        """Have a mapping, or its renewal; `wanted` is what we had before."""

    async def unmap(self, port: Port, granted: Granted, /) -> None:
        """End a mapping."""

    async def has_lost(self, port: Port, granted: Granted, /) -> bool:
        """Whether the router has forgotten its mappings since; cheap, for asking often."""


class Epoch:
    """What a router's clock said, and whether it began anew in between."""

    def __init__(self, lost_state: Callable[..., bool]) -> None:
        self._lost_state = lost_state
        self._last: tuple[int, float] | None = None
        self._began_anew = False

    def heard(self, epoch_seconds: int) -> None:
        """An answer carried this epoch."""
        now = trio.current_time()
        if self._last is not None:
            before, at = self._last
            self._began_anew |= self._lost_state(before=before, now=epoch_seconds, elapsed_seconds=now - at)
        self._last = (epoch_seconds, now)

    def take_began_anew(self) -> bool:
        """Whether the router began anew since this was asked last."""
        found, self._began_anew = self._began_anew, False
        return found


class Pcp:
    """Mappings over the Port Control Protocol.

    A mapping belongs to its nonce. Ours come of a `secret` that outlives the process: a node that was killed may have
    its mapping again at once.
    """

    via = Via.PCP

    def __init__(self, gateway: Gateway, *, secret: bytes, lease_seconds: int) -> None:
        self._gateway = gateway
        self._secret = secret
        self._lease_seconds = lease_seconds
        self._epoch = Epoch(pcp.lost_state)

    async def map(self, port: Port, wanted: Granted | None) -> Granted:
        """Have a mapping, or its renewal."""
        external = (wanted.external_port, wanted.external_ip) if wanted else (port.number, pcp.NO_ADDRESS)
        answer = await self._ask(port, *external, self._lease_seconds)
        if not answer.external_port or not answer.lifetime_seconds:
            raise PortmapFailed("the router gave no port (PCP)")
        return Granted(answer.external_ip, answer.external_port, answer.lifetime_seconds)

    async def unmap(self, port: Port, granted: Granted) -> None:
        """End a mapping."""
        await self._ask(port, granted.external_port, granted.external_ip, 0)

    async def has_lost(self, _port: Port, _granted: Granted) -> bool:
        """Ask the router for how long it has kept its state."""

        def read(packet: bytes) -> int | None:
            answer = pcp.decode(packet)
            return answer.epoch_seconds if isinstance(answer, pcp.Announcement) else None

        self._epoch.heard(await exchange(self._gateway, pcp.announce(self._gateway.own_ip), read))
        return self._epoch.take_began_anew()

    async def _ask(self, port: Port, external_port: int, external_ip: str, lifetime_seconds: int) -> pcp.MapAnswer:
        nonce = self._nonce(port)
        request = pcp.MapRequest(
            self._gateway.own_ip, nonce, port.protocol, port.number, external_port, external_ip, lifetime_seconds
        )

        def read(packet: bytes) -> pcp.MapAnswer | pcp.OtherVersion | None:
            answer = pcp.decode(packet)
            if isinstance(answer, pcp.MapAnswer):
                ours = (answer.nonce, answer.protocol, answer.internal_port) == (nonce, port.protocol, port.number)
                return answer if ours else None
            return answer if isinstance(answer, pcp.OtherVersion) else None

        answer: pcp.MapAnswer | pcp.OtherVersion = await exchange(self._gateway, request.encode(), read)
        if isinstance(answer, pcp.OtherVersion):
            raise PortmapFailed(f"the router speaks version {answer.version} of the protocol (PCP is version 2)")
        self._epoch.heard(answer.epoch_seconds)
        if answer.result != pcp.Result.SUCCESS:
            raise PortmapFailed(f"the router refused (PCP: {_name_of(pcp.Result, answer.result)})")
        return answer

    def _nonce(self, port: Port) -> bytes:
        text = _NONCE_LABEL + f"/{port.protocol}/{port.number}".encode()
        return hmac.new(self._secret, text, hashlib.sha256).digest()[: pcp.NONCE_BYTES]


class NatPmp:
    """Mappings over NAT-PMP."""

    via = Via.NAT_PMP

    def __init__(self, gateway: Gateway, *, lease_seconds: int) -> None:
        self._gateway = gateway
        self._lease_seconds = lease_seconds
        self._epoch = Epoch(natpmp.lost_state)

    async def map(self, port: Port, wanted: Granted | None) -> Granted:
        """Have a mapping, or its renewal."""
        external_port = wanted.external_port if wanted else port.number
        address = await self._ask_address()
        answer = await self._ask(port, external_port, self._lease_seconds)
        if not answer.external_port or not answer.lifetime_seconds:
            raise PortmapFailed("the router gave no port (NAT-PMP)")
        return Granted(address.ip, answer.external_port, answer.lifetime_seconds)

    async def unmap(self, port: Port, _granted: Granted) -> None:
        """End a mapping."""
        await self._ask(port, 0, 0)

    async def has_lost(self, _port: Port, granted: Granted) -> bool:
        """Ask for the external address: the answer carries the epoch too."""
        address = await self._ask_address()
        return self._epoch.take_began_anew() or address.ip != granted.external_ip

    async def _ask_address(self) -> natpmp.ExternalAddress:
        def read(packet: bytes) -> natpmp.ExternalAddress | natpmp.Failure | None:
            answer = natpmp.decode(packet)
            ours = isinstance(answer, natpmp.ExternalAddress) or (
                isinstance(answer, natpmp.Failure) and answer.opcode == 0
            )
            return answer if ours and not isinstance(answer, natpmp.Mapped) else None

        answer = self._heard(await exchange(self._gateway, natpmp.ASK_ADDRESS, read))
        if not isinstance(answer, natpmp.ExternalAddress):
            raise PortmapFailed("the router answered something else (NAT-PMP)")
        return answer

    async def _ask(self, port: Port, suggested_port: int, lifetime_seconds: int) -> natpmp.Mapped:
        request = natpmp.ask_mapping(
            port.protocol,
            internal_port=port.number,
            suggested_port=suggested_port,
            lifetime_seconds=lifetime_seconds,
        )

        def read(packet: bytes) -> natpmp.Mapped | natpmp.Failure | None:
            answer = natpmp.decode(packet)
            if isinstance(answer, natpmp.Mapped):
                return answer if (answer.protocol, answer.internal_port) == (port.protocol, port.number) else None
            return answer if isinstance(answer, natpmp.Failure) and answer.opcode == request[1] else None

        answer = self._heard(await exchange(self._gateway, request, read))
        if not isinstance(answer, natpmp.Mapped):
            raise PortmapFailed("the router answered something else (NAT-PMP)")
        return answer

    def _heard(
        self, answer: natpmp.ExternalAddress | natpmp.Mapped | natpmp.Failure
    ) -> natpmp.ExternalAddress | natpmp.Mapped:
        if isinstance(answer, natpmp.Failure):
            raise PortmapFailed(f"the router refused (NAT-PMP: {_name_of(natpmp.Result, answer.result)})")
        self._epoch.heard(answer.epoch_seconds)
        return answer


async def exchange(gateway: Gateway, request: bytes, read: Callable[[bytes], _Answer | None]) -> _Answer:
    """Send a request until `read` makes something of an answer; PortmapFailed when there is none.

    Pauses as in RFC 6886 section 3.1, cut off after the fourth. Only the gateway is heard: the socket is connected.
    """
    try:
        with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            await udp.connect((gateway.ip, PORT))
            for pause_seconds in limits.PORTMAP_RESEND_SECONDS:
                await udp.send(request)
                with trio.move_on_after(pause_seconds):
                    while True:
                        packet = await udp.recv(pcp.ANSWER_BYTES_MAX + 1)
                        try:
                            answer = read(packet)
                        except ProtocolViolation:
                            continue
                        if answer is not None:
                            return answer
    except OSError as exc:
        raise PortmapFailed(f"the router takes no such requests ({exc.strerror})") from exc
    raise PortmapFailed("the router does not answer such requests")


def _name_of(results: type[pcp.Result | natpmp.Result], code: int) -> str:
    try:
        return results(code).name
    except ValueError:
        return f"error {code}"
