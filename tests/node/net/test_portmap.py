"""When ports are mapped, renewed, mapped anew and given up, against routers made of Python; the real one: tests/lan."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import trio
import trio.testing

from covey_core.network.scope import Scope
from covey_node import limits
from covey_node.net.portmap import PortMapper
from covey_node.net.portmap_gateway import Gateway, gateway_in
from covey_node.protocol.portmap import Granted, Port, PortmapFailed, Protocol, Via

TCP, UDP = Port(Protocol.TCP, 4001), Port(Protocol.UDP, 4001)
HOME = Gateway("192.168.1.1", "192.168.1.2")
CAFE = Gateway("10.0.0.1", "10.0.0.7")


@dataclass
class Router:
    """What a router knows, and what it does to those who ask over `speaks`."""

    speaks: Via = Via.PCP
    ip: str = "45.79.40.101"
    lease_seconds: int = 3600
    silent: bool = False
    hangs: bool = False
    refuses: set[Port] = field(default_factory=set)
    ports: dict[Port, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    renewed: int = 0
    forgot: bool = False

    def ways(self, _gateway: Gateway) -> tuple[Way, ...]:
        return tuple(Way(self, via) for via in Via)


@dataclass
class Way:
    """One way of asking."""

    router: Router
    via: Via

    async def map(self, port: Port, wanted: Granted | None, /) -> Granted:
        self.router.asked.append(f"{self.via}")
        await trio.lowlevel.checkpoint()
        if self.router.silent or self.via is not self.router.speaks:
            raise PortmapFailed("silence")
        if port in self.router.refuses:
            raise PortmapFailed("refused")
        self.router.renewed += wanted is not None
        self.router.ports[port] = wanted.external_port if wanted else port.number + 1
        return Granted(self.router.ip, self.router.ports[port], self.router.lease_seconds)

    async def unmap(self, port: Port, _granted: Granted, /) -> None:
        if self.router.hangs:
            await trio.sleep_forever()
        if self.router.silent:
            raise PortmapFailed("silence")
        del self.router.ports[port]

    async def has_lost(self, _port: Port, _granted: Granted, /) -> bool:
        await trio.lowlevel.checkpoint()
        if self.router.silent:
            raise PortmapFailed("silence")
        forgot, self.router.forgot = self.router.forgot, False
        return forgot


class World:
    """A mapper that runs, and what it is given."""

    def __init__(self, router: Router, **more: object) -> None:
        self.gateway: Gateway | None = HOME
        self.ports: list[Port] = [TCP, UDP]
        self.changes = 0
        self.mapper = PortMapper(
            lambda: self.ports,
            scope=more.pop("scope", Scope()),  # type: ignore[arg-type]
            secret=bytes(32),
            changed=self._changed,
            gateway=lambda: self.gateway,
            make_methods=router.ways,
        )

    def _changed(self) -> None:
        self.changes += 1


@asynccontextmanager
async def running(router: Router, **more: object) -> AsyncIterator[World]:
    world = World(router, **more)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.mapper.run)
        await trio.testing.wait_all_tasks_blocked()
        yield world
        nursery.cancel_scope.cancel()


async def test_ports_are_mapped_and_given_back_at_the_end(autojump_clock: trio.testing.MockClock) -> None:
    router = Router()
    async with running(router) as world:
        assert router.ports == {TCP: 4002, UDP: 4002}
        assert world.mapper.addrs() == ("/ip4/45.79.40.101/tcp/4002", "/ip4/45.79.40.101/udp/4002/quic-v1")
        assert world.mapper.problem == ""
    assert router.ports == {}
    assert world.mapper.mappings() == ()


async def test_the_end_takes_bounded_time(autojump_clock: trio.testing.MockClock) -> None:
    router = Router()
    async with running(router):
        router.hangs = True
        began = trio.current_time()
    assert trio.current_time() - began == limits.PORTMAP_END_SECONDS


@pytest.mark.parametrize("speaks", Via)
async def test_the_ways_are_tried_in_order_and_what_worked_comes_first_the_next_time(
    autojump_clock: trio.testing.MockClock, speaks: Via
) -> None:
    router = Router(speaks)
    async with running(router) as world:
        order = list(dict.fromkeys(router.asked))
        assert order == list(Via)[: list(Via).index(speaks) + 1]
        assert world.mapper.via is speaks
        router.asked.clear()
        world.gateway = CAFE
        await trio.sleep(limits.PORTMAP_ROUTE_SECONDS + limits.PORTMAP_AGAIN_SECONDS + 1)
        assert router.asked[0] == speaks


async def test_a_lease_is_renewed_at_half_its_life(autojump_clock: trio.testing.MockClock) -> None:
    router = Router(lease_seconds=100)
    async with running(router) as world:
        await trio.sleep(49)
        assert router.renewed == 0
        await trio.sleep(2)
        assert router.renewed == 2
        await trio.sleep(1000)
        assert len(world.mapper.mappings()) == 2
        assert world.changes == 2, "a renewal at the same place is no news"


async def test_a_router_that_forgot_gets_everything_anew_within_a_minute(
    autojump_clock: trio.testing.MockClock,
) -> None:
    router = Router()
    async with running(router) as world:
        router.ports.clear()
        router.forgot = True
        router.ip = "45.79.40.102"
        await trio.sleep(limits.PORTMAP_CHECK_SECONDS + 1)
        assert set(router.ports) == {TCP, UDP}
        assert {mapping.external_ip for mapping in world.mapper.mappings()} == {"45.79.40.102"}
        assert world.changes == 4


async def test_one_lost_answer_is_forgiven_and_two_are_not(autojump_clock: trio.testing.MockClock) -> None:
    router = Router()
    async with running(router) as world:
        router.silent = True
        await trio.sleep(limits.PORTMAP_CHECK_SECONDS + 1)
        assert len(world.mapper.addrs()) == 2
        await trio.sleep(limits.PORTMAP_CHECK_SECONDS)
        assert world.mapper.addrs() == ()
        router.silent = False
        await trio.sleep(3 * limits.PORTMAP_AGAIN_SECONDS)
        assert len(world.mapper.addrs()) == 2


async def test_a_port_that_is_refused_does_not_cost_the_other(autojump_clock: trio.testing.MockClock) -> None:
    router = Router(refuses={UDP})
    async with running(router) as world:
        await trio.sleep(10 * limits.PORTMAP_CHECK_SECONDS)
        assert [mapping.protocol for mapping in world.mapper.mappings()] == [Protocol.TCP]
        assert world.mapper.problem == "refused"
        router.refuses.clear()
        await trio.sleep(limits.PORTMAP_CHECK_SECONDS + 1)
        assert len(world.mapper.mappings()) == 2
        assert world.mapper.problem == ""


async def test_ports_come_and_go(autojump_clock: trio.testing.MockClock) -> None:
    router = Router()
    async with running(router) as world:
        world.ports = [TCP, Port(Protocol.TCP, 5000)]
        world.mapper.nudge()
        await trio.sleep(1)
        assert router.ports == {TCP: 4002, Port(Protocol.TCP, 5000): 5001}


async def test_another_router_is_asked_when_the_route_changes(autojump_clock: trio.testing.MockClock) -> None:
    router = Router()
    async with running(router) as world:
        world.gateway = None
        await trio.sleep(limits.PORTMAP_ROUTE_SECONDS + 1)
        assert world.mapper.addrs() == ()
        assert "default route" in world.mapper.problem or "another one" in world.mapper.problem
        world.gateway = CAFE
        await trio.sleep(limits.PORTMAP_ROUTE_SECONDS + 1)
        assert len(world.mapper.addrs()) == 2


async def test_where_nobody_answers_it_is_asked_ever_more_seldom(autojump_clock: trio.testing.MockClock) -> None:
    router = Router(silent=True)
    async with running(router) as world:
        assert world.mapper.problem == "pcp: silence; nat-pmp: silence; upnp: silence"
        await trio.sleep(24 * 3600)
        tries = router.asked.count("pcp") / 2  # two ports each
        assert 24 <= tries <= 28
        assert world.changes == 0


@pytest.mark.parametrize("ip", ["100.64.1.5", "10.1.2.3", "192.168.0.2", "172.16.0.1", "0.0.0.0", "127.0.0.1"])
async def test_what_lies_behind_one_more_nat_is_reported_but_not_announced(
    autojump_clock: trio.testing.MockClock, ip: str
) -> None:
    async with running(Router(ip=ip)) as world:
        assert {mapping.external_ip for mapping in world.mapper.mappings()} == {ip}
        assert world.mapper.addrs() == ()


async def test_in_a_private_network_its_own_addresses_are_announced(autojump_clock: trio.testing.MockClock) -> None:
    async with running(Router(ip="10.1.2.3"), scope=Scope(("10.0.0.0/8",))) as world:
        assert len(world.mapper.addrs()) == 2


@pytest.mark.parametrize("ip", ["", "no address", "2a00:1450::1", "2a00:1450::1%/tcp/22/p2p/somebody"])
async def test_a_router_that_does_not_know_its_address_gives_nothing(
    autojump_clock: trio.testing.MockClock, ip: str
) -> None:
    async with running(Router(ip=ip)) as world:
        assert world.mapper.mappings() == ()
        assert "does not know its own address" in world.mapper.problem


_HEAD = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
_LINE: Callable[..., str] = "eth0\t{}\t{}\t{}\t0\t0\t{}\t{}\t0\t0\t0\n".format


def test_the_gateway_is_the_default_route_with_the_lowest_metric() -> None:
    table = (
        _HEAD
        + _LINE("00000000", "0101A8C0", "0003", 600, "00000000")
        + _LINE("00000000", "0102A8C0", "0003", 100, "00000000")
        + _LINE("0001A8C0", "00000000", "0001", 0, "00FFFFFF")
        + _LINE("00000000", "00000000", "0001", 0, "00000000")  # a link without a router
        + _LINE("00000000", "0103A8C0", "0002", 0, "00000000")  # down
        + "damaged\n"
    )
    assert gateway_in(table) == "192.168.2.1"
    assert gateway_in(_HEAD) is None
    assert gateway_in("") is None
