"""One UDP socket, from which QUIC connections are dialed and at which they are accepted.

Owns: the socket, and which datagram belongs to which connection. Spec: RFC 9000, 5.2; libp2p specs, quic;
docs/spec/host.md. Never touches: what strangers must bring (quic_door.py), streams, the connection table.
"""

import errno
import socket
from collections.abc import Awaitable, Callable
from typing import Final

import trio
from aioquic.buffer import Buffer  # type: ignore[attr-defined]
from aioquic.quic.packet import QuicHeader, QuicPacketType, QuicProtocolVersion, pull_quic_header
from libp2p.abc import IListener
from multiaddr import Multiaddr

from covey_core.errors import SettingsInvalid
from covey_core.host import limits
from covey_core.host.contained import Contained
from covey_core.host.quic_connection import Place, QuicMuxed
from covey_core.host.quic_door import QuicDoor, Welcome
from covey_core.host.quic_engine import Engine
from covey_core.host.quic_tls import Credentials, configuration

_LONG_HEADER: Final = 0x80
_CID: Final = slice(1, 1 + limits.QUIC_CONNECTION_ID_BYTES)
_UNREACHABLE: Final = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


class QuicEndpoint(IListener):
    """A socket and its connections. `run` must run; `close` ends it."""

    def __init__(
        self,
        ip: str,
        port: int,
        *,
        own: Credentials,
        tasks: trio.Nursery,
        liveness: tuple[float, float],
        may_accept: Callable[[str], bool] | None = None,
        serve: Callable[[QuicMuxed], Awaitable[None]] | None = None,
    ) -> None:
        """Bind the socket; `SettingsInvalid` when that fails. Without `serve` nothing is accepted."""
        self.is_ipv6: Final = ":" in ip
        self._own: Final = own
        self._tasks: Final = tasks
        self._liveness: Final = liveness
        self._may_accept: Final = may_accept
        self._serve: Final = serve
        self._by_cid: dict[bytes, QuicMuxed] = {}
        self._unproven: set[QuicMuxed] = set()
        self._ended: dict[bytes, tuple[bytes, Place, int]] = {}
        self._door: Final = QuicDoor()
        self._socket: Final = socket.socket(socket.AF_INET6 if self.is_ipv6 else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            if self.is_ipv6:
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            self._socket.setblocking(False)  # noqa: FBT003 - the standard library's signature
            for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                self._socket.setsockopt(socket.SOL_SOCKET, buffer, limits.QUIC_SOCKET_BUFFER_BYTES)
            self._socket.bind((ip, port))
        except OSError as exc:
            self._socket.close()
            raise SettingsInvalid(f"cannot use UDP port {port} of {ip}: {exc.strerror}") from exc
        self.ip, self.port = self._socket.getsockname()[:2]
        self.address: Final = place_address((self.ip, self.port))

    # --- libp2p's listener ------------------------------------------------------------------------------------------

    async def listen(self, maddr: Multiaddr) -> None:
        """Nothing: the socket has been bound."""

    def get_addrs(self) -> tuple[Multiaddr, ...]:
        """Return the address that is listened on."""
        return (self.address,)

    async def close(self) -> None:
        """Close the socket; connections should have been closed before."""
        if self._socket.fileno() >= 0:
            for connection in set(self._by_cid.values()):
                connection.hang_up()
            trio.lowlevel.notify_closing(self._socket.fileno())
            self._socket.close()
        await trio.lowlevel.checkpoint()

    # --- going out --------------------------------------------------------------------------------------------------

    async def dial(self, place: Place) -> QuicMuxed:
        """Return a connection to this address whose handshake is over; raises. The caller's deadline."""
        engine = Engine(configuration=configuration(self._own, is_client=True))
        connection = self._adopt(engine, place, is_initiator=True)
        try:
            engine.connect(place, trio.current_time())
            connection.pump()
            await connection.proven()
        except BaseException:
            connection.hang_up()
            raise
        return connection

    def spray(self, place: Place, datagram: bytes) -> None:
        """Send one datagram that means nothing to anybody."""
        self.transmit(datagram, place)

    def transmit(self, datagram: bytes, place: Place) -> OSError | None:
        """Send a datagram, or lose it when the socket does not take it; returns why nobody can be reached there."""
        try:
            self._socket.sendto(datagram, place)
        except OSError as exc:
            return exc if exc.errno in _UNREACHABLE else None
        return None

    def _adopt(self, engine: Engine, place: Place, *first_cids: bytes, is_initiator: bool) -> QuicMuxed:
        connection = QuicMuxed(
            engine,
            place_address(place),
            (plain_ip(place), int(place[1])),
            is_initiator=is_initiator,
            from_listen_port=self._serve is not None,
            transmit=self.transmit,
            liveness_interval_seconds=self._liveness[0],
            liveness_timeout_seconds=self._liveness[1],
        )
        cids = {engine.host_cid, *first_cids}
        self._by_cid.update(dict.fromkeys(cids, connection))

        def changed(cid: bytes, *, is_new: bool) -> None:
            if is_new:
                cids.add(cid)
                self._by_cid[cid] = connection
            else:
                cids.discard(cid)
                self._by_cid.pop(cid, None)

        async def live() -> None:
            try:
                with Contained():
                    await connection.run()
            finally:
                connection.hang_up()
                for cid in cids:
                    self._by_cid.pop(cid, None)
                    self._bury(cid, *connection.last_words)

        connection.on_cid = changed
        self._tasks.start_soon(live)
        return connection

    # --- coming in --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Take datagrams until the socket is closed."""
        while self._socket.fileno() >= 0:
            try:
                await trio.lowlevel.wait_readable(self._socket.fileno())
            except trio.ClosedResourceError:
                return
            touched: dict[QuicMuxed, None] = {}
            for _ in range(limits.QUIC_DATAGRAMS_AT_ONCE):
                try:
                    datagram, place = self._socket.recvfrom(limits.QUIC_DATAGRAM_BYTES)
                except BlockingIOError:
                    break
                except OSError:
                    continue
                with Contained():
                    connection = self._owner(datagram, place)
                    if connection is not None:
                        connection.receive(datagram, place)
                        touched[connection] = None
            for connection in touched:
                with Contained():
                    connection.pump()

    def _owner(self, datagram: bytes, place: Place) -> QuicMuxed | None:
        """Return whose datagram this is; a new connection for a stranger's first one that may come in."""
        if not datagram:
            return None
        if not datagram[0] & _LONG_HEADER:
            found = self._by_cid.get(datagram[_CID])
            if found is None:
                self._say_again(datagram, place)
            return found
        header = pull_quic_header(Buffer(data=datagram), host_cid_length=limits.QUIC_CONNECTION_ID_BYTES)
        found = self._by_cid.get(header.destination_cid)
        if found is not None or self._serve is None or len(datagram) < limits.QUIC_FIRST_DATAGRAM_BYTES:
            return found
        if header.packet_type is QuicPacketType.VERSION_NEGOTIATION:
            return None
        if header.version != QuicProtocolVersion.VERSION_1:
            self.transmit(self._door.version_answer(header), place)
            return None
        if (
            header.packet_type is QuicPacketType.INITIAL
            and len(header.destination_cid) >= limits.QUIC_CONNECTION_ID_BYTES
        ):
            return self._accept(header, datagram, place)
        return None

    def _bury(self, cid: bytes, last_words: bytes, place: Place) -> None:
        """Remember for a while how a connection's end was told: the datagram may have been lost. RFC 9000, 10.2.1."""
        if last_words:
            self._ended[cid] = (last_words, place, limits.QUIC_LAST_WORDS)
            while len(self._ended) > limits.QUIC_ENDED_REMEMBERED:
                del self._ended[next(iter(self._ended))]

    def _say_again(self, datagram: bytes, place: Place) -> None:
        """Only to where it was said before, and no more than was paid for: whoever asks may have forged its address."""
        cid = datagram[_CID]
        last_words, told, left = self._ended.get(cid, (b"", (), 0))
        if left and place == told and len(last_words) <= limits.QUIC_UNVALIDATED_TIMES * len(datagram):
            self._ended[cid] = (last_words, told, left - 1)
            self.transmit(last_words, place)

    def _accept(self, header: QuicHeader, datagram: bytes, place: Place) -> QuicMuxed | None:
        if self._may_accept is not None and not self._may_accept(plain_ip(place)):
            return None
        now = trio.current_time()
        welcome = self._door.knock(header, place, under_way=len(self._unproven), now=now)
        if isinstance(welcome, bytes):
            self.transmit(welcome, place)
        if not isinstance(welcome, Welcome):
            return None
        engine = Engine(
            configuration=configuration(self._own, is_client=False),
            original_destination_connection_id=welcome.original,
            retry_source_connection_id=welcome.retried,
        )
        self._door.wasted(now=now)
        engine.receive_datagram(datagram, place, now)
        if not engine.has_begun:
            return None
        self._door.made_sense()
        connection = self._adopt(engine, place, header.destination_cid, is_initiator=False)
        self._unproven.add(connection)
        connection.on_settled = lambda: self._unproven.discard(connection)
        self._tasks.start_soon(self._serve_one, connection)
        connection.pump()
        return None

    async def _serve_one(self, connection: QuicMuxed) -> None:
        try:
            if self._serve is not None:
                await self._serve(connection)
        finally:
            connection.hang_up()


def plain_ip(place: Place) -> str:
    """Return the IP of a socket's address, without its zone."""
    return str(place[0]).partition("%")[0]


def place_address(place: Place) -> Multiaddr:
    """Return a socket's address as a multiaddr."""
    ip = plain_ip(place)
    return Multiaddr(f"/{'ip6' if ':' in ip else 'ip4'}/{ip}/udp/{place[1]}/quic-v1")
