"""Server and client over real sockets: what is dialed, by whom, and what the client believes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest
import trio

from covey_core.autonat import Answer, AutonatClient, AutonatLimits, AutonatServer, Served, Verdict, serve_autonat
from covey_core.host import Connected, Disconnected, Host
from covey_core.host.events import Event
from covey_core.network import Network, new_network
from covey_core.wire.autonat import DIAL_BACK_PROTOCOL, DIAL_REQUEST_PROTOCOL
from covey_core.wire.direct_addr import DirectAddr
from tests.autonat.conftest import ELSEWHERE, TCP, host_on, target_of


@dataclass
class Pair:
    """A server, and a client that is connected to it."""

    server: Host
    service: AutonatServer
    client: Host
    autonat: AutonatClient
    served: list[Served] = field(default_factory=list)

    async def ask(self, target: DirectAddr | None = None) -> Answer:
        with trio.fail_after(30):
            return await self.autonat.ask(self.server.peer_id, target or target_of(self.client))


@asynccontextmanager
async def pair(network: Network, *listen: str, bounds: AutonatLimits | None = None) -> AsyncIterator[Pair]:
    served: list[Served] = []
    async with (
        host_on(network) as server,
        serve_autonat(server, bounds=bounds, on_served=served.append) as service,
        host_on(network, *listen) as client,
    ):
        autonat = AutonatClient(client)
        await client.connect(server.peer_id, server.addrs)
        yield Pair(server, service, client, autonat, served)


async def next_stranger(events: "trio.MemoryReceiveChannel[Event]", both: Pair) -> Connected:
    """The next connection of somebody else than the server."""
    with trio.fail_after(10):
        while True:
            event = await events.receive()
            if isinstance(event, Connected) and event.peer != both.server.peer_id:
                return event


async def test_an_address_that_can_be_dialed_is_reachable(loopback):
    async with pair(loopback) as both:
        assert await both.ask() == Answer(Verdict.REACHABLE)
        assert both.served == [Served.REACHED]


async def test_the_dial_back_comes_from_another_peer_and_another_port_although_the_asker_is_connected(loopback):
    async with pair(loopback) as both:
        (known,) = both.client.connections()
        with both.client.subscribe() as events:
            await both.ask()
            came = await next_stranger(events, both)
        assert came.connection.inbound
        assert came.peer not in {both.server.peer_id, both.client.peer_id}
        assert came.connection.remote_addr != known.remote_addr
        assert [info.number for info in both.client.connections(both.server.peer_id)] == [known.number]


async def test_every_dial_back_comes_from_a_peer_of_its_own(loopback):
    async with pair(loopback) as both:
        with both.client.subscribe() as events:
            peers = set()
            for _ in range(2):
                await both.ask()
                peers.add((await next_stranger(events, both)).peer)
        assert len(peers) == 2


async def test_nothing_is_left_of_a_dial_back(loopback):
    async with pair(loopback) as both:
        with both.client.subscribe() as events, trio.fail_after(10):
            await both.ask()
            came = await next_stranger(events, both)
            while not isinstance(await events.receive(), Disconnected):
                pass
        assert came.peer not in {info.peer for info in both.client.connections()}
        assert [info.peer for info in both.client.connections()] == [both.server.peer_id]
        assert both.service.policy.under_way == 0


async def test_a_port_that_nobody_listens_on_is_unreachable(loopback):
    async with pair(loopback) as both:
        answer = await both.ask(replace(target_of(both.client), port=9))
        assert answer.verdict is Verdict.UNREACHABLE
        assert both.served == [Served.UNREACHED]


async def test_an_address_where_somebody_else_listens_is_unreachable(loopback):
    async with pair(loopback) as both, host_on(loopback) as stranger:
        assert (await both.ask(target_of(stranger))).verdict is Verdict.UNREACHABLE


async def test_an_address_that_is_not_the_askers_costs_data_first():
    network = new_network("public", private=False, subnets=("127.0.0.0/8",))
    async with pair(network, ELSEWHERE) as both:
        assert await both.ask() == Answer(Verdict.REACHABLE)


async def test_quic_addresses_are_tested_too(loopback):
    async with pair(loopback, "/ip4/127.0.0.1/udp/0/quic-v1") as both:
        assert await both.ask() == Answer(Verdict.REACHABLE)


async def test_a_port_where_no_quic_answers_is_unreachable(loopback):
    async with pair(loopback) as both:
        with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as silent:
            await silent.bind(("127.0.0.1", 0))
            target = DirectAddr("127.0.0.1", "quic", silent.getsockname()[1])
            assert (await both.ask(target)).verdict is Verdict.UNREACHABLE


async def test_a_client_without_the_handler_is_not_called_reachable(loopback):
    async with pair(loopback) as both:
        both.client.unhandle(DIAL_BACK_PROTOCOL)
        assert (await both.ask()).verdict is Verdict.FAILED
        assert both.served == [Served.NO_NONCE]


async def test_a_host_that_is_no_server_fails_the_question(loopback):
    async with pair(loopback) as both:
        both.server.unhandle(DIAL_REQUEST_PROTOCOL)
        assert (await both.ask()).verdict is Verdict.FAILED


@pytest.mark.parametrize("address", ["169.254.169.254", "127.0.0.1", "10.0.0.1", "192.168.1.1", "100.64.0.1"])
async def test_on_a_public_network_no_address_inside_is_dialed(address, monkeypatch):
    async def dial_back(*_arguments, **_rest):
        raise AssertionError("dialed")

    monkeypatch.setattr("covey_core.autonat.server.dial_back", dial_back)
    async with pair(new_network("public", private=False)) as both:
        target = DirectAddr.parse(f"/ip4/{address}/tcp/{target_of(both.client).port}")
        assert target is not None
        assert (await both.ask(target)).verdict is Verdict.REFUSED
        assert both.served == [Served.REFUSED]


async def test_the_rate_of_one_peer_is_limited(loopback):
    async with pair(loopback, TCP, bounds=AutonatLimits(requests_per_peer=2)) as both:
        verdicts = [(await both.ask()).verdict for _ in range(3)]
        assert verdicts == [Verdict.REACHABLE, Verdict.REACHABLE, Verdict.REJECTED]
