"""Reachability over real sockets: several servers on loopback, each at an address of its own."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio

from covey_core.autonat import AutonatClient, serve_autonat
from covey_core.host import Host, HostConfig, open_host
from covey_core.identity import Identity
from covey_core.network import Network, Scope, new_network
from covey_core.wire.autonat import DIAL_REQUEST_PROTOCOL
from covey_node.net.reachability import Reachability, ReachMetrics
from covey_node.protocol.nat_kind import NatKind
from tests.support.circuit_client import until

OUTSIDE = new_network("loopback", private=True, subnets=("127.0.0.0/8",))
TCP = "/ip4/127.0.0.1/tcp/0"


@dataclass
class Place:
    """A host, what is known of its place, and what was counted."""

    host: Host
    reachability: Reachability
    asked: list[str] = field(default_factory=list)
    changes: list[tuple[str, ...]] = field(default_factory=list)

    async def knows(self, condition: Callable[[], bool]) -> None:
        with trio.fail_after(20):
            await until(condition)


@asynccontextmanager
async def host_on(network: Network, *listen: str) -> AsyncIterator[Host]:
    async with open_host(HostConfig(Identity.generate(), network, listen)) as host:
        yield host


@asynccontextmanager
async def place(
    network: Network, *servers: str, listen: tuple[str, ...] = (TCP,), mapped: tuple[str, ...] = ()
) -> AsyncIterator[Place]:
    """A node that is connected to AutoNAT servers at these addresses."""
    async with host_on(network, *listen) as host, trio.open_nursery() as nursery, AsyncExitStack() as stack:
        asked: list[str] = []
        reachability = Reachability(
            host, AutonatClient(host), mapped=lambda: mapped, metrics=ReachMetrics(asked=asked.append)
        )
        found = Place(host, reachability, asked)
        reachability.changed = lambda: found.changes.append(reachability.public_addrs())
        nursery.start_soon(reachability.run)
        for address in servers:
            server = await stack.enter_async_context(host_on(network, address))
            await stack.enter_async_context(serve_autonat(server))
            await host.connect(server.peer_id, server.addrs)
        yield found
        nursery.cancel_scope.cancel()


async def test_an_address_that_two_servers_reach_is_public():
    async with place(OUTSIDE, "/ip4/127.0.0.2/tcp/0", "/ip4/127.0.0.3/tcp/0") as node:
        await node.knows(lambda: len(node.asked) >= 2)
        await node.knows(lambda: bool(node.reachability.public_addrs()))
        assert node.reachability.public_addrs() == node.host.addrs
        assert node.changes[-1] == node.host.addrs
        (one,) = node.reachability.addrs()
        assert (one.reachable, one.reason, one.transport, one.ip_version) == (
            True,
            "2 servers could connect",
            "tcp",
            "ip4",
        )


async def test_without_a_nat_the_kind_is_none():
    async with place(OUTSIDE, "/ip4/127.0.0.2/tcp/0", "/ip4/127.0.0.3/tcp/0") as node:
        await node.knows(lambda: node.reachability.nat is not NatKind.UNKNOWN)
        assert node.reachability.nat is NatKind.NONE


async def test_two_servers_on_one_ip_do_not_tell_the_kind():
    async with place(OUTSIDE, "/ip4/127.0.0.2/tcp/0", "/ip4/127.0.0.2/tcp/0") as node:
        await node.knows(lambda: len(node.host.observations()) == 2)
        await node.knows(lambda: bool(node.reachability.public_addrs()))
        assert node.reachability.nat is NatKind.UNKNOWN


async def test_a_mapped_address_that_leads_nowhere_is_not_announced():
    nowhere = "/ip4/127.0.0.77/tcp/9"
    servers = ("/ip4/127.0.0.2/tcp/0", "/ip4/127.0.0.3/tcp/0")
    async with place(OUTSIDE, *servers, mapped=(nowhere,)) as node:
        await node.knows(lambda: all(one.reachable is not None for one in node.reachability.addrs()))
        judged = {one.addr: one.reachable for one in node.reachability.addrs()}
        assert judged[nowhere] is False
        assert node.reachability.public_addrs() == node.host.addrs


async def test_nothing_is_asked_and_nothing_believed_without_servers():
    async with place(OUTSIDE) as node, host_on(OUTSIDE, TCP) as peer:
        await node.host.connect(peer.peer_id, peer.addrs)
        await node.knows(lambda: bool(node.reachability.addrs()))
        assert node.asked == []
        assert node.reachability.public_addrs() == ()


async def test_an_address_inside_is_never_asked_about_on_a_public_network():
    async with place(new_network("public", private=False), "/ip4/127.0.0.2/tcp/0") as node:
        await node.knows(lambda: bool(node.host.observations()))
        assert node.reachability.addrs() == ()
        assert node.asked == []


async def test_a_server_inside_our_own_site_is_not_asked_and_its_view_not_believed():
    site = new_network("small", private=True, subnets=("127.0.0.0/24",))
    async with place(site, "/ip4/127.0.1.2/tcp/0", "/ip4/127.0.1.3/tcp/0") as node:
        await node.knows(lambda: len(node.host.observations()) == 2)
        assert all(node.host.speaks(info.peer, DIAL_REQUEST_PROTOCOL) for info in node.host.connections())
        assert node.reachability._servers() == ()
        assert node.reachability._seen() == []


def told(*views: tuple[str, str, str], relays: tuple[str, ...] = ()) -> Reachability:
    """What a node makes of views (peer, its IP, how it sees us); it listens on 10.0.0.2, port 4001."""
    observations = tuple(
        SimpleNamespace(peer=peer, remote_addr=f"/ip4/{ip}/tcp/4001", observed=observed, inbound=False)
        for peer, ip, observed in views
    )
    network = SimpleNamespace(scope=Scope(), relays=[SimpleNamespace(peer=peer) for peer in relays])
    host: Any = SimpleNamespace(
        network=network, observations=lambda: observations, addrs=("/ip4/10.0.0.2/tcp/4001",), connections=lambda: ()
    )
    reachability = Reachability(host, cast("Any", None))
    reachability._look()
    return reachability


@pytest.mark.parametrize("ours", ["127.0.0.1", "0.0.0.0", "255.255.255.255", "192.168.1.2"])
async def test_nobody_makes_us_believe_that_there_is_no_nat_by_seeing_us_where_nobody_outside_can(ours: str):
    views = [(peer, ip, f"/ip4/{ours}/tcp/4001") for peer, ip in (("eve", "45.79.40.101"), ("mallory", "45.79.41.1"))]
    assert told(*views).nat is NatKind.UNKNOWN


async def test_servers_are_asked_only_about_ips_that_our_relays_see():
    """Whoever connects to us could otherwise have the relays dial a third party, at our expense."""
    views = ("relay", "45.79.40.101", "/ip4/45.79.1.1/tcp/4001"), ("eve", "45.79.41.1", "/ip4/8.8.8.8/tcp/4001")
    asked = {one.addr for one in told(*views, relays=("relay",)).addrs()}
    assert asked == {"/ip4/45.79.1.1/tcp/4001"}
    assert "/ip4/8.8.8.8/tcp/4001" in {one.addr for one in told(*views).addrs()}, "without relays anybody is believed"


async def test_strangers_do_not_outvote_our_relays_on_the_kind_of_nat():
    relays = [(peer, ip, "/ip4/45.79.1.1/tcp/30001") for peer, ip in (("one", "45.79.40.101"), ("two", "45.79.41.1"))]
    eves = [(f"eve{number}", f"45.79.42.{number}", f"/ip4/8.8.8.8/tcp/{number}") for number in range(1, 9)]
    assert told(*relays, *eves, relays=("one", "two")).nat is NatKind.EASY
    assert told(*relays, *eves).nat is NatKind.HARD
