"""Servers that lie, askers that would have somebody else dialed or made busy: over real sockets."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from covey_core.autonat import AutonatClient, Served, Verdict, limits, serve_autonat
from covey_core.errors import StreamLost
from covey_core.host import Host, Stream
from covey_core.identity import Identity
from covey_core.limits import AUTONAT_MESSAGE_BYTES
from covey_core.network import Network, new_network
from covey_core.wire import autonat as wire
from covey_core.wire.autonat import (
    DIAL_BACK_PROTOCOL,
    DIAL_REQUEST_PROTOCOL,
    DialData,
    DialDataRequest,
    DialRequest,
    DialResponse,
    DialStatus,
    Message,
    ResponseStatus,
)
from covey_core.wire.direct_addr import DirectAddr
from covey_relay.service import open_relay_service
from tests.autonat.conftest import ELSEWHERE, host_on, target_of
from tests.support.circuit_client import accepting, dial, reserve, until

OK = DialResponse(ResponseStatus.OK, 0, DialStatus.OK)


@pytest.fixture
def network() -> Network:
    return new_network("public", private=False, subnets=("127.0.0.0/8",))


async def write(stream: Stream, message: Message) -> None:
    await stream.write_frame(wire.encode_message(message), limit=AUTONAT_MESSAGE_BYTES)


async def read(stream: Stream) -> Message:
    frame = await stream.read_frame(limit=AUTONAT_MESSAGE_BYTES)
    assert frame is not None
    return wire.decode_message(frame)


# --- servers that lie ---------------------------------------------------------------------------------------------

Liar = Callable[[Host, Stream, DialRequest], Awaitable[None]]


async def asked_of(network: Network, liar: Liar) -> Verdict:
    """What a client makes of a server that serves dial requests like this."""
    async with host_on(network) as server, host_on(network) as client:

        async def serve(stream: Stream) -> None:
            request = await read(stream)
            assert isinstance(request, DialRequest)
            await liar(server, stream, request)

        server.handle(DIAL_REQUEST_PROTOCOL, serve)
        autonat = AutonatClient(client)
        await client.connect(server.peer_id, server.addrs)
        with trio.fail_after(20):
            return (await autonat.ask(server.peer_id, target_of(client))).verdict


async def bring(host: Host, peer: str, nonce: int) -> None:
    stream = await host.open_stream(peer, DIAL_BACK_PROTOCOL)
    await stream.write_frame(wire.encode_dial_back(nonce), limit=1024)
    await stream.read_frame(limit=1024)


async def test_the_servers_word_alone_is_not_believed(network, monkeypatch):
    monkeypatch.setattr(limits, "DIAL_BACK_SECONDS", 0.05)

    async def claims(_server: Host, stream: Stream, _request: DialRequest) -> None:
        await write(stream, OK)

    assert await asked_of(network, claims) is Verdict.FAILED


async def test_a_nonce_over_the_connection_that_we_dialed_is_none(network, monkeypatch):
    monkeypatch.setattr(limits, "DIAL_BACK_SECONDS", 0.2)

    async def short_cut(server: Host, stream: Stream, request: DialRequest) -> None:
        with pytest.raises(StreamLost):
            await bring(server, stream.peer, request.nonce)
        await write(stream, OK)

    assert await asked_of(network, short_cut) is Verdict.FAILED


async def test_a_nonce_that_nobody_waits_for_is_none(network, monkeypatch):
    monkeypatch.setattr(limits, "DIAL_BACK_SECONDS", 0.2)

    async def guesses(server: Host, stream: Stream, request: DialRequest) -> None:
        async with host_on(server.network) as fresh:
            await fresh.connect(stream.peer, [str(DirectAddr.decode(request.addrs[0]))])
            with pytest.raises(StreamLost):
                await bring(fresh, stream.peer, request.nonce ^ 1)
            await write(stream, OK)

    assert await asked_of(network, guesses) is Verdict.FAILED


async def test_a_nonce_counts_once(network):
    twice: list[bool] = []

    async def repeats(server: Host, stream: Stream, request: DialRequest) -> None:
        async with host_on(server.network) as fresh:
            await fresh.connect(stream.peer, [str(DirectAddr.decode(request.addrs[0]))])
            await bring(fresh, stream.peer, request.nonce)
            with pytest.raises(StreamLost):
                await bring(fresh, stream.peer, request.nonce)
            twice.append(True)
            await write(stream, OK)

    assert await asked_of(network, repeats) is Verdict.REACHABLE
    assert twice


async def test_a_nonce_over_another_transport_than_the_one_in_question_is_none(network, monkeypatch):
    monkeypatch.setattr(limits, "DIAL_BACK_SECONDS", 0.2)
    async with host_on(network) as server, host_on(network, "/ip4/127.0.0.1/tcp/0") as client:

        async def serve(stream: Stream) -> None:
            request = await read(stream)
            assert isinstance(request, DialRequest)
            async with host_on(network) as fresh:
                await fresh.connect(stream.peer, client.addrs)
                with pytest.raises(StreamLost):
                    await bring(fresh, stream.peer, request.nonce)
                await write(stream, OK)

        server.handle(DIAL_REQUEST_PROTOCOL, serve)
        autonat = AutonatClient(client)
        await client.connect(server.peer_id, server.addrs)
        answer = await autonat.ask(server.peer_id, DirectAddr("127.0.0.1", "quic", target_of(client).port))
        assert answer.verdict is Verdict.FAILED


@pytest.mark.parametrize(
    "answer",
    [
        DialResponse(ResponseStatus.OK, 1, DialStatus.OK),
        DialResponse(ResponseStatus.OK, 0, DialStatus.UNUSED),
        DialResponse(ResponseStatus.E_INTERNAL_ERROR),
        DialResponse(ResponseStatus.OK, 7, DialStatus.E_DIAL_ERROR),
        DialDataRequest(0, limits.DATA_BYTES_MAX + 1),
        DialDataRequest(1, limits.DATA_BYTES_MIN),
        DialData(b"x"),
    ],
    ids=str,
)
async def test_an_answer_that_does_not_hold_together_is_none(network, answer):
    sent: list[bytes] = []

    async def answers(_server: Host, stream: Stream, _request: DialRequest) -> None:
        await write(stream, answer)
        sent.append(await stream.read_some())

    assert await asked_of(network, answers) is Verdict.FAILED
    assert sent in ([], [b""])


async def test_a_server_that_could_not_connect_and_did_is_not_believed(network):
    async def contradicts(server: Host, stream: Stream, request: DialRequest) -> None:
        async with host_on(server.network) as fresh:
            await fresh.connect(stream.peer, [str(DirectAddr.decode(request.addrs[0]))])
            await bring(fresh, stream.peer, request.nonce)
            await write(stream, DialResponse(ResponseStatus.OK, 0, DialStatus.E_DIAL_ERROR))

    assert await asked_of(network, contradicts) is Verdict.FAILED


async def test_a_silent_server_costs_one_deadline(network, monkeypatch):
    monkeypatch.setattr(limits, "ASK_SECONDS", 0.2)

    async def says_nothing(_server: Host, stream: Stream, _request: DialRequest) -> None:
        await stream.read_some()

    assert await asked_of(network, says_nothing) is Verdict.FAILED


# --- askers -------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def asking(network: Network) -> AsyncIterator[tuple[Host, Host, list[Served]]]:
    """A server, and a host that is connected to it and asks by hand."""
    served: list[Served] = []
    async with (
        host_on(network) as server,
        serve_autonat(server, on_served=served.append, random=lambda: 0.0),
        host_on(network) as asker,
    ):
        await asker.connect(server.peer_id, server.addrs)
        yield server, asker, served


async def request(asker: Host, server: Host, *addrs: bytes) -> Stream:
    stream = await asker.open_stream(server.peer_id, DIAL_REQUEST_PROTOCOL)
    await write(stream, DialRequest(addrs, 7))
    return stream


async def test_without_dial_data_no_other_ip_hears_of_us(network, monkeypatch):
    monkeypatch.setattr(limits, "DATA_SECONDS", 0.2)
    async with asking(network) as (server, asker, served), host_on(network, ELSEWHERE) as victim:
        with victim.subscribe() as events:
            stream = await request(asker, server, target_of(victim).encode())
            wanted = await read(stream)
            assert wanted == DialDataRequest(0, limits.DATA_BYTES_MIN)
            await write(stream, DialData(bytes(4096)))  # and no more
            with pytest.raises(StreamLost), trio.fail_after(10):
                await stream.read_some()
            assert served == [Served.BROKEN]
            with pytest.raises(trio.WouldBlock):
                events.receive_nowait()


async def test_dial_data_in_crumbs_is_not_taken(network):
    async with asking(network) as (server, asker, served):
        stream = await request(asker, server, DirectAddr("127.0.0.9", "tcp", 9).encode())
        await read(stream)
        await write(stream, DialData(bytes(99)))
        with pytest.raises(StreamLost), trio.fail_after(10):
            await stream.read_some()
        await until(lambda: served == [Served.BROKEN])


async def test_what_a_victim_gets_is_less_than_what_the_asker_paid(network):
    async with asking(network) as (server, asker, _served), host_on(network, ELSEWHERE) as victim:
        got = 0

        async def carry(source: trio.SocketStream, target: trio.SocketStream, *, counted: bool) -> None:
            nonlocal got
            async for part in source:
                got += len(part) * counted
                await target.send_all(part)

        async def between(source: trio.SocketStream) -> None:
            onward = await trio.open_tcp_stream("127.0.0.9", target_of(victim).port)
            async with onward, trio.open_nursery() as both:
                both.start_soon(lambda: carry(source, onward, counted=True))
                both.start_soon(lambda: carry(onward, source, counted=False))

        async with trio.open_nursery() as nursery:
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.8")
            nursery.start_soon(trio.serve_listeners, between, [listener])
            port = listener.socket.getsockname()[1]
            stream = await request(asker, server, DirectAddr("127.0.0.8", "tcp", port).encode())
            wanted = await read(stream)
            assert isinstance(wanted, DialDataRequest)
            paid = 0
            while paid < wanted.num_bytes:
                await write(stream, DialData(bytes(4000)))
                paid += 4000
            with trio.fail_after(20):
                answer = await read(stream)
            assert answer == DialResponse(ResponseStatus.OK, 0, DialStatus.E_DIAL_ERROR)  # it is not the asker's
            nursery.cancel_scope.cancel()
        assert 0 < got < limits.DATA_BYTES_MIN <= paid


async def test_over_quic_a_silent_victim_gets_less_too(network):
    async with asking(network) as (server, asker, _served):
        with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as victim:
            await victim.bind(("127.0.0.9", 0))
            stream = await request(asker, server, DirectAddr("127.0.0.9", "quic", victim.getsockname()[1]).encode())
            await read(stream)
            for _ in range(8):
                await write(stream, DialData(bytes(4000)))
            got = 0
            with trio.fail_after(20):
                async with trio.open_nursery() as nursery:

                    async def count() -> None:
                        nonlocal got
                        while True:
                            got += len(await victim.recv(65_536))

                    nursery.start_soon(count)
                    await read(stream)
                    nursery.cancel_scope.cancel()
        assert 0 < got < limits.DATA_BYTES_MIN


async def test_a_request_that_does_not_come_is_not_waited_for(network, monkeypatch):
    monkeypatch.setattr(limits, "REQUEST_SECONDS", 0.1)
    async with asking(network) as (server, asker, served):
        stream = await asker.open_stream(server.peer_id, DIAL_REQUEST_PROTOCOL)
        with pytest.raises(StreamLost), trio.fail_after(10):
            await stream.read_some()
        assert served == [Served.BROKEN]


async def test_a_third_request_at_once_is_rejected(network):
    async with asking(network) as (server, asker, served):
        waiting = [await asker.open_stream(server.peer_id, DIAL_REQUEST_PROTOCOL) for _ in range(2)]
        await until(lambda: len(asker.connections()) == 1)
        third = await request(asker, server, target_of(asker).encode())
        with trio.fail_after(10):
            assert await read(third) == DialResponse(ResponseStatus.E_REQUEST_REJECTED)
        assert served == [Served.REJECTED]
        for stream in waiting:
            await stream.reset()


async def test_a_request_through_a_relay_is_rejected(network):
    async with (
        asking(network) as (server, asker, served),
        host_on(network, identity=(identity := Identity.generate())) as relay,
        open_relay_service(relay, identity=identity),
        accepting(server) as acceptor,
    ):
        await asker.disconnect(server.peer_id)
        for host in (server, asker):
            await host.connect(relay.peer_id, relay.addrs)
        await reserve(server, relay)
        with trio.fail_after(10):
            _, ours = await dial(asker, relay, server.peer_id)
            _, theirs = await acceptor.next()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_adopt, server, theirs, relay)
                await asker.adopt_circuit(ours, peer=server.peer_id, dialer=True, relay=relay.peer_id)
            stream = await request(asker, server, target_of(asker).encode())
            assert await read(stream) == DialResponse(ResponseStatus.E_REQUEST_REJECTED)
        assert served == [Served.REJECTED]


async def _adopt(host: Host, stream: Stream, relay: Host) -> None:
    await host.adopt_circuit(stream, peer=None, dialer=False, relay=relay.peer_id)
