"""Two QUIC connections without sockets: datagrams go through memory, so that a mock clock can run ahead."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio
from aioquic.buffer import Buffer
from aioquic.quic.packet import pull_quic_header
from libp2p.crypto.ed25519 import create_new_key_pair
from multiaddr import Multiaddr

from covey_core.host import limits
from covey_core.host.quic_connection import Place, QuicMuxed
from covey_core.host.quic_engine import Engine
from covey_core.host.quic_tls import configuration, credentials

CLIENT = ("192.0.2.1", 1_000)
SERVER = ("192.0.2.2", 2_000)
DELAY_SECONDS = 0.01


class Wire:
    """One direction. `loses` decides which datagrams vanish."""

    def __init__(self, source: Place) -> None:
        self.source = source
        self.loses: Callable[[bytes], bool] = lambda _datagram: False
        self.sent_bytes = 0
        self._send, self._receive = trio.open_memory_channel[tuple[float, bytes]](100_000)

    def transmit(self, datagram: bytes, _place: Place) -> OSError | None:
        """Put a datagram on its way."""
        self.sent_bytes += len(datagram)
        if not self.loses(datagram):
            self._send.send_nowait((trio.current_time() + DELAY_SECONDS, datagram))
        return None

    async def run(self, arrived: Callable[[bytes], None]) -> None:
        """Deliver what is on its way."""
        async for due, datagram in self._receive:
            await trio.sleep_until(due)
            arrived(datagram)


def muxed(engine: Engine, place: Place, wire: Wire, *, is_initiator: bool, **liveness: float) -> QuicMuxed:
    """Return a connection that sends into a wire."""
    return QuicMuxed(
        engine,
        Multiaddr(f"/ip4/{place[0]}/udp/{place[1]}/quic-v1"),
        (place[0], place[1]),
        is_initiator=is_initiator,
        from_listen_port=True,
        transmit=wire.transmit,
        liveness_interval_seconds=liveness.get("interval", limits.LIVENESS_INTERVAL_SECONDS),
        liveness_timeout_seconds=liveness.get("timeout", limits.LIVENESS_TIMEOUT_SECONDS),
    )


@asynccontextmanager
async def quic_pair(**liveness: float) -> AsyncIterator[tuple[QuicMuxed, QuicMuxed, Wire, Wire]]:
    """A client and a server that have proven themselves, and the wires that they send into."""
    up, down = Wire(CLIENT), Wire(SERVER)
    client_engine = Engine(configuration=configuration(credentials(create_new_key_pair()), is_client=True))
    client = muxed(client_engine, SERVER, up, is_initiator=True, **liveness)
    servers: list[QuicMuxed] = []
    async with trio.open_nursery() as nursery:

        def at_server(datagram: bytes) -> None:
            if not servers:
                header = pull_quic_header(Buffer(data=datagram), host_cid_length=8)
                engine = Engine(
                    configuration=configuration(credentials(create_new_key_pair()), is_client=False),
                    original_destination_connection_id=header.destination_cid,
                )
                servers.append(muxed(engine, CLIENT, down, is_initiator=False, **liveness))
                servers[0].receive(datagram, CLIENT)
                nursery.start_soon(servers[0].run)
            else:
                servers[0].receive(datagram, CLIENT)
            servers[0].pump()

        def at_client(datagram: bytes) -> None:
            client.receive(datagram, SERVER)
            client.pump()

        nursery.start_soon(up.run, at_server)
        nursery.start_soon(down.run, at_client)
        client_engine.connect(SERVER, trio.current_time())
        client.pump()
        nursery.start_soon(client.run)
        await client.proven()
        await servers[0].proven()
        for each in (client, servers[0]):
            nursery.start_soon(each.start)
        yield client, servers[0], up, down
        nursery.cancel_scope.cancel()


def engine_of(connection: QuicMuxed) -> Any:
    """The state machine below a connection, for tests that look at what it keeps."""
    return connection._engine
