"""TCP as hole punching needs it: dials leave from the port that is listened on, and closing frees the ports at once.

Owns: the source of a dial, a dialed or accepted connection's bytes, its close. A NAT that maps by port then shows every
peer the same address of ours, which is the one that others can dial (libp2p specs, DCUtR: "port reuse").
Spec: docs/spec/host.md, docs/adr/0051. Never touches: names, security, the connection table.
"""

import errno
import ipaddress
import socket
import struct
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Final, TypeAlias

import trio
from libp2p.abc import IRawConnection
from libp2p.io.trio import TrioTCPStream
from libp2p.transport.exceptions import OpenConnectionError

from covey_core.host import limits

Place: TypeAlias = tuple[str, int]
"""An IP and a port."""

_TAKEN: Final = frozenset({errno.EADDRNOTAVAIL, errno.EADDRINUSE})
"""What connecting from a port says when a connection with the same four numbers stands, or stood a minute ago."""

_NO_LINGER: Final = struct.pack("ii", 1, 0)
_HAS_UNSENT_COUNT: Final = sys.platform == "linux"
_GREETING_BYTES: Final = 20
"""A multistream-select greeting. Who dials sends its proposal right behind it."""


class TcpBytes(TrioTCPStream):
    """The bytes of one connection. `from_listen_port`: they leave from a port that is listened on."""

    def __init__(self, stream: trio.SocketStream, *, from_listen_port: bool) -> None:
        super().__init__(stream)
        self.from_listen_port: Final = from_listen_port
        if _HAS_UNSENT_COUNT:
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)

    async def close(self) -> None:
        """Close once the peer has acknowledged what was written, after 0.25 s at the latest.

        With a reset, as go-libp2p does: a FIN alone would hold the pair of ports for a minute (TIME_WAIT), or as long
        as a dead peer is silent, and no dial between the two listening ports could be made. With a FIN before it: a
        Linux router that has seen none ignores the next SYN of the other side for 10 s (nf_conntrack, CLOSE).
        """
        try:
            with trio.move_on_after(limits.DRAIN_SECONDS):
                while _HAS_UNSENT_COUNT and _unacknowledged(self.stream.socket):  # noqa: ASYNC110 - no event tells
                    await trio.sleep(limits.DRAIN_POLL_SECONDS)
        finally:
            with suppress(OSError):
                self.stream.socket.shutdown(socket.SHUT_WR)
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(self.stream)

    async def speaks_first(self, seconds: float) -> bool:
        """Whether the other side proposes something within `seconds`, as a dialer does; nothing is read."""
        with trio.move_on_after(seconds):
            while True:
                seen = await self.stream.socket.recv(_GREETING_BYTES + 1, socket.MSG_PEEK)
                if not seen or len(seen) > _GREETING_BYTES:
                    return True
                await trio.sleep(limits.DRAIN_POLL_SECONDS)
        return False


async def dial(target: Place, source: Place | None, *, may_leave_elsewhere: bool = True) -> TcpBytes:
    """Return a connection to `target`, from `source` where there is one; `OSError`, `OpenConnectionError` otherwise.

    Where that pair of ports is taken it leaves from a port of the system's choice, if it may.
    """
    if source is not None:
        try:
            return await _dial_from(target, source)
        except OSError as exc:
            if exc.errno not in _TAKEN or not may_leave_elsewhere:
                raise
    return await _dial_from(target, None)


async def _dial_from(target: Place, source: Place | None) -> TcpBytes:
    tcp = trio.socket.socket(socket.AF_INET6 if ":" in target[0] else socket.AF_INET, socket.SOCK_STREAM)
    done = False
    try:
        if source is not None:
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            await tcp.bind(source)
        await tcp.connect(target)
        if tcp.getsockname() == tcp.getpeername():  # a simultaneous open with itself: RFC 9293, 3.5
            raise OpenConnectionError("this host itself answered")
        done = True
        return TcpBytes(trio.SocketStream(tcp), from_listen_port=source is not None)
    finally:
        if not done:
            tcp.close()


def from_listen_port(raw: IRawConnection) -> bool:
    """Whether a raw connection's bytes leave from a port that is listened on."""
    stream: object = getattr(raw, "stream", None)
    return isinstance(stream, TcpBytes) and stream.from_listen_port


def source_for(target_ip: str, listening: Iterable[Place]) -> Place | None:
    """Return from where a dial to an IP leaves, given what is listened on; None: from anywhere.

    A socket on all addresses of the IP's kind first, then the one on the address that the system would choose. Loopback
    and others do not reach each other.
    """
    target = ipaddress.ip_address(target_ip)
    kind = "::" if target.version == 6 else "0.0.0.0"  # noqa: PLR2004, S104 - where a dial leaves from
    own = [(ipaddress.ip_address(ip.partition("%")[0]), port) for ip, port in listening]
    wildcards = [one for one in own if one[0].is_unspecified and one[0].version >= target.version]
    for _, port in sorted(wildcards, key=lambda one: one[0].version != target.version):
        return kind, port
    fitting = [one for one in own if one[0].version == target.version and one[0].is_loopback == target.is_loopback]
    if fitting:
        routed = _routed_from(target_ip)
        for ip, port in fitting:
            if str(ip) == routed:
                return routed, port
    return None


def _routed_from(target_ip: str) -> str | None:
    """Return the address that the system would send from; nothing is sent."""
    with socket.socket(socket.AF_INET6 if ":" in target_ip else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((target_ip, 9))
        except OSError:
            return None
        return str(probe.getsockname()[0])


def _unacknowledged(tcp: trio.socket.SocketType) -> bool:
    import fcntl  # noqa: PLC0415 - not on every system
    import termios  # noqa: PLC0415

    if tcp.fileno() < 0:
        return False
    try:
        tcp.getpeername()  # fails once the peer has closed it too, whatever was not acknowledged
        (count,) = struct.unpack("i", fcntl.ioctl(tcp.fileno(), termios.TIOCOUTQ, bytes(4)))
    except OSError:
        return False
    return bool(count)
