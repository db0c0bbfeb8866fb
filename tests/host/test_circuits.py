"""A circuit's byte stream becomes a connection, end to end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from covey_core.errors import StreamLost, Unreachable
from covey_core.host import Host, Stream
from covey_core.network import Network
from tests.host.conftest import host_on

_TO = "/test/to/1"
_FROM = "/test/from/1"


async def _copy(source: Stream, sink: Stream) -> None:
    try:
        while data := await source.read_some():
            await sink.write(data)
        await sink.close_write()
    except StreamLost:
        await sink.reset()
        await source.reset()


class Triangle:
    """alice and bob, connected only to a relay that joins streams on request."""

    def __init__(self, relay: Host, alice: Host, bob: Host) -> None:
        self.relay, self.alice, self.bob = relay, alice, bob
        relay.handle(_TO, self._join)
        bob.handle(_FROM, self._accept)
        self.accepted: list[str] = []
        self.middle: list[Stream] = []
        self.joined_before = 0
        self.unjoined = trio.Event()

    async def _join(self, stream: Stream) -> None:
        async with trio.open_nursery() as nursery:
            other = await self.relay.open_stream(self.bob.peer_id, _FROM)
            self.middle += [stream, other]
            nursery.start_soon(_copy, stream, other)
            nursery.start_soon(_copy, other, stream)
        self.joined_before += 1
        self.unjoined.set()
        self.unjoined = trio.Event()

    async def _accept(self, stream: Stream) -> None:
        self.accepted.append(await self.bob.adopt_circuit(stream, peer=None, dialer=False, relay=self.relay.peer_id))

    async def circuit(self) -> str:
        stream = await self.alice.open_stream(self.relay.peer_id, _TO)
        return await self.alice.adopt_circuit(stream, peer=self.bob.peer_id, dialer=True, relay=self.relay.peer_id)


@asynccontextmanager
async def triangle(network: Network) -> AsyncIterator[Triangle]:
    async with host_on(network) as relay, host_on(network) as alice, host_on(network) as bob:
        await alice.connect(relay.peer_id, relay.addrs)
        await bob.connect(relay.peer_id, relay.addrs)
        yield Triangle(relay, alice, bob)


async def _echo(stream: Stream) -> None:
    while data := await stream.read_some():
        await stream.write(data)


async def _say(host: Host, to: Host, text: bytes) -> bytes:
    stream = await host.open_stream(to.peer_id, "/test/echo/1")
    await stream.write_frame(text, limit=1_000_000)
    await stream.close_write()
    back = await stream.read_frame(limit=1_000_000)
    await stream.close()
    assert back is not None
    return back


@pytest.mark.parametrize("kind", ["public", "private"])
async def test_a_circuit_is_a_full_connection_both_ways(kind: str, request: pytest.FixtureRequest) -> None:
    with trio.fail_after(20):
        async with triangle(request.getfixturevalue(kind)) as three:
            assert await three.circuit() == three.bob.peer_id
            (seen,) = three.alice.connections(three.bob.peer_id)
            assert seen.relayed
            assert seen.admitted
            assert seen.relay == three.relay.peer_id
            assert f"/p2p/{three.relay.peer_id}/p2p-circuit" in seen.remote_addr
            three.alice.handle("/test/echo/1", _echo)
            three.bob.handle("/test/echo/1", _echo)
            assert await _say(three.alice, three.bob, b"a" * 500_000) == b"a" * 500_000
            assert await _say(three.bob, three.alice, b"b") == b"b"
            (other,) = three.bob.connections(three.alice.peer_id)
            assert other.relayed
            assert other.inbound


async def test_closing_the_connection_closes_the_circuit_and_the_other_way_round(public: Network) -> None:
    with trio.fail_after(20):
        async with triangle(public) as three:
            with three.bob.subscribe() as events:
                await three.circuit()
                await events.receive()
                await three.alice.disconnect(three.bob.peer_id)
                gone = await events.receive()
                assert gone.connection.relayed
                assert three.bob.connections(three.alice.peer_id) == ()
                while not three.joined_before:
                    await three.unjoined.wait()
                await three.circuit()
                await events.receive()
                for stream in three.middle[-2:]:
                    await stream.reset()
                gone = await events.receive()
                assert gone.connection.relayed


async def test_a_direct_connection_comes_beside_a_circuit_and_is_preferred(public: Network) -> None:
    with trio.fail_after(20):
        async with triangle(public) as three:
            three.bob.handle("/test/echo/1", _echo)
            await three.circuit()
            with three.alice.subscribe() as events:
                await three.alice.connect(three.bob.peer_id, three.bob.addrs)
                await events.receive()
                assert [one.relayed for one in three.alice.connections(three.bob.peer_id)] == [False, True]
                stream = await three.alice.open_stream(three.bob.peer_id, "/test/echo/1")
                assert not stream.relayed
                await _close_direct(three.alice, three.bob)
                gone = await events.receive()
                assert not gone.connection.relayed
            assert await _say(three.alice, three.bob, b"still here") == b"still here"


async def _close_direct(host: Host, to: Host) -> None:
    for connection in host._swarm.all_connections():
        if connection.peer == to.peer_id and not connection.relayed:
            await connection.close()


async def test_a_circuit_to_somebody_else_is_refused(public: Network) -> None:
    with trio.fail_after(20):
        async with triangle(public) as three:
            stream = await three.alice.open_stream(three.relay.peer_id, _TO)
            with pytest.raises(Unreachable):
                await three.alice.adopt_circuit(
                    stream, peer=three.relay.peer_id, dialer=True, relay=three.relay.peer_id
                )
            assert three.alice.connections(three.bob.peer_id) == ()
