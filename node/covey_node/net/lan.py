"""Finding contacts on the local networks, and being found there, by multicast DNS.

Owns: the sockets, when to ask and to answer, the table of neighbours. Spec: docs/spec/mdns.md; RFC 6762.
Never touches: packets' bytes (protocol/mdns.py), who counts as a contact, dialling (service/nearby.py).
"""

from __future__ import annotations

import errno
import random
import secrets
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol

import trio

from covey_core.errors import ProtocolViolation
from covey_core.host.contained import shielded, system_error_in
from covey_core.logs import get_logger
from covey_core.network import Network
from covey_core.peers import PeerId
from covey_node import limits
from covey_node.net.interfaces import expand
from covey_node.net.lan_interfaces import LanInterface, lan_interfaces
from covey_node.protocol import mdns
from covey_node.protocol.addresses import host_of
from covey_node.protocol.neighbours import Neighbours, on_subnet

log = get_logger("node.lan")

GROUP: Final = "224.0.0.251"  # RFC 6762 section 3
PORT: Final = 5353
_NAME_CHARS: Final = 40
_IP_MULTICAST_ALL: Final = 49  # linux/in.h; the socket module does not name it


class Listening(Protocol):
    """What is needed of the host."""

    @property
    def addrs(self) -> tuple[str, ...]:
        """Where it listens; ends in /p2p/<peer>."""

    @property
    def network(self) -> Network:
        """The network it is in."""


class LanDiscovery:
    """Asks and answers on every local network while `run` runs.

    Only peers that are `wanted` are kept. `found` is called with such a peer at each of its answers, and whether it
    named an address that was not known.
    """

    def __init__(
        self,
        host: Listening,
        *,
        wanted: Callable[[PeerId], bool],
        found: Callable[[PeerId, bool], None],
        interfaces: Callable[[], tuple[LanInterface, ...]] = lan_interfaces,
    ) -> None:
        self._host = host
        self._wanted = wanted
        self._found = found
        self._interfaces = interfaces
        name = "".join(secrets.choice(mdns.ALPHABET) for _ in range(_NAME_CHARS))
        network = host.network
        self._service = mdns.service(name, network=network.id.hex()[:8] if network.key else "")
        self._neighbours = Neighbours()
        self._on: dict[LanInterface, trio.CancelScope] = {}
        self._network_changed = trio.Event()

    def addrs_of(self, peer: PeerId) -> tuple[str, ...]:
        """Return the addresses at which a peer was heard within the last two minutes, the last heard first."""
        return self._neighbours.addrs_of(peer, now=trio.current_time())

    def peers(self) -> tuple[PeerId, ...]:
        """Return the peers that were heard within the last two minutes."""
        return self._neighbours.peers(now=trio.current_time())

    def network_changed(self) -> None:
        """The interfaces or their addresses are others: look at them now."""
        self._network_changed.set()

    @property
    def interfaces(self) -> tuple[str, ...]:
        """The names of the interfaces on which we ask and answer now."""
        return tuple(interface.name for interface in self._on)

    async def run(self) -> None:
        """Ask and answer until cancelled, on interfaces as they come and go; then say goodbye."""
        async with trio.open_nursery() as nursery:
            present: tuple[LanInterface, ...] = ()
            while True:
                with suppress(OSError):  # with all file descriptors in use the system tells none
                    present = self._interfaces()
                for interface, scope in list(self._on.items()):
                    if interface not in present:
                        scope.cancel()
                for interface in present:
                    if interface not in self._on:
                        scope = trio.CancelScope()
                        self._on[interface] = scope
                        nursery.start_soon(self._serve, interface, scope)
                self._neighbours.expire(now=trio.current_time())
                with trio.move_on_after(limits.MDNS_LOOK_SECONDS):
                    await self._network_changed.wait()
                self._network_changed = trio.Event()

    async def _serve(self, interface: LanInterface, scope: trio.CancelScope) -> None:
        try:
            with scope:
                await self._speak(interface)
        except* OSError as group:  # it went, or cannot do multicast: the next look tries again
            found = system_error_in(group)
            log.debug("node.lan.left_out", problem=errno.errorcode.get(found.errno or 0) if found else "OSError")
        finally:
            del self._on[interface]

    async def _speak(self, interface: LanInterface) -> None:
        with _open_socket(interface) as udp:
            room = _Room(udp, interface)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._ask, room)
                nursery.start_soon(self._answer, room)
                try:
                    await self._listen(room)
                finally:
                    with shielded(limits.MDNS_GOODBYE_SECONDS):
                        await self._tell(room, ttl_seconds=0)

    async def _ask(self, room: _Room) -> None:
        """Say where we are, then ask who is there: soon after the start, then ever more seldom."""
        room.answer_wanted.set()
        for pause_seconds in limits.MDNS_ASK_SECONDS:
            await room.send(mdns.query(self._service))
            await trio.sleep(pause_seconds)
        while True:
            await room.send(mdns.query(self._service))
            await trio.sleep(limits.MDNS_ASK_SECONDS_MAX)

    async def _answer(self, room: _Room) -> None:
        """Answer, all who asked at once: everybody on the network hears it."""
        while True:
            await room.answer_wanted.wait()
            await trio.sleep(random.uniform(0, limits.MDNS_ANSWER_JITTER_SECONDS))  # noqa: S311 - no secret
            room.answer_wanted = trio.Event()
            await self._tell(room, ttl_seconds=limits.MDNS_TTL_SECONDS)
            await trio.sleep(limits.MDNS_ANSWER_PAUSE_SECONDS)

    async def _tell(self, room: _Room, *, ttl_seconds: int) -> None:
        ours = self._own_addrs(room.interface)
        if ours:
            ips = tuple(dict.fromkeys(ip for addr in ours if (ip := host_of(addr)) is not None))
            await room.send(mdns.answer(self._service, ours, ips, ttl_seconds=ttl_seconds))
        if room.services_wanted and ttl_seconds:
            room.services_wanted = False
            await room.send(mdns.services_answer(self._service, ttl_seconds=ttl_seconds))

    def _own_addrs(self, interface: LanInterface) -> tuple[str, ...]:
        """Return our addresses on the interface: TCP and QUIC, as others cannot use WebSocket better."""
        return tuple(addr for addr in expand(self._host.addrs) if host_of(addr) in interface.ips and "/ws" not in addr)

    async def _listen(self, room: _Room) -> None:
        window_ends, packets = trio.current_time() + 1, 0
        while True:
            packet, (sender, port, *_) = await room.socket.recvfrom(limits.MDNS_PACKET_BYTES)
            # Off the link, or from another port than multicast DNS's: RFC 6762 sections 6 and 11.
            if port != PORT or not on_subnet(sender, room.interface.subnets) or not mdns.may_concern(packet):
                continue
            now = trio.current_time()
            if now >= window_ends:
                window_ends, packets = now + 1, 0
            packets += 1
            if packets > limits.MDNS_PACKETS_PER_SECOND:
                continue
            try:
                heard = mdns.decode(packet, self._service)
            except ProtocolViolation:
                continue
            if heard is not None:
                self._hear(heard, room, sender, now)

    def _hear(self, heard: mdns.Heard, room: _Room, sender: str, now: float) -> None:
        if heard.asks or heard.asks_for_services:
            room.services_wanted |= heard.asks_for_services
            room.answer_wanted.set()
        for found in heard.found:
            if not self._wanted(found.peer):
                continue
            fresh = self._neighbours.heard(found, sender=sender, subnets=room.interface.subnets, now=now)
            if self._neighbours.addrs_of(found.peer, now=now):
                self._found(found.peer, fresh)


class _Room:
    """One interface: its socket, and what others there want to hear."""

    def __init__(self, udp: trio.socket.SocketType, interface: LanInterface) -> None:
        self.socket = udp
        self.interface = interface
        self.answer_wanted = trio.Event()
        self.services_wanted = False

    async def send(self, packet: bytes) -> None:
        """Send to everybody on the interface; while its address changes nothing can be sent, and is left out."""
        try:
            await self.socket.sendto(packet, (GROUP, PORT))
        except OSError as exc:
            log.debug("node.lan.not_sent", problem=errno.errorcode.get(exc.errno or 0))


def _open_socket(interface: LanInterface) -> trio.socket.SocketType:
    """Return a socket that hears and reaches one interface only, beside those of other programs on the machine."""
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        here = struct.pack("=4s4si", socket.inet_aton(GROUP), socket.inet_aton(interface.ip), interface.index)
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        udp.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)  # else it hears what other sockets joined
        udp.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, here)
        udp.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, here)
        udp.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)  # RFC 6762 section 11
        udp.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)  # other nodes on this machine hear us too
        udp.bind((GROUP, PORT))
    except OSError:
        udp.close()
        raise
    return trio.socket.from_stdlib_socket(udp)
