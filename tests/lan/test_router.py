"""Ports mapped at a real router: miniupnpd, over each of its three protocols; a stranger outside comes in."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.lan.home import OUTSIDE, Home
from tests.lan.processes import Script, running

ALL = ("pcp", "nat-pmp", "upnp")
PORTS = (("tcp", 4001), ("udp", 4001))
BOTH = ["tcp 4001 192.168.1.2:4001", "udp 4001 192.168.1.2:4001"]
STRANGER = str(Path(__file__).parent / "stranger.py")


@asynccontextmanager
async def mapper(
    home: Home, *, only: tuple[str, ...] = ALL, machine: str = "one", lease_seconds: int = 3600
) -> AsyncIterator[Script]:
    wanted = json.dumps({"ports": PORTS, "only": only, "lease_seconds": lease_seconds})
    async with running(home.spaces, machine, "mapper.py", wanted) as script:
        yield script


def hello(home: Home, protocol: str, port: int) -> str:
    return home.spaces.run("out", "python3", STRANGER, protocol, OUTSIDE, str(port)).strip()


async def both_mapped(script: Script) -> dict[str, object]:
    await script.hear("changed")
    found = await script.hear("changed")
    assert len(found["mappings"]) == 2
    return found


@pytest.mark.parametrize("via", ALL)
async def test_a_stranger_comes_in_over_tcp_and_udp_until_the_node_ends(home: Home, via: str) -> None:
    home.start_router()
    assert hello(home, "tcp", 4001) == "TimeoutError"
    async with mapper(home, only=(via,)) as script:
        found = await both_mapped(script)
        assert found["mappings"] == [[protocol, 4001, OUTSIDE, 4001, via] for protocol, _ in PORTS]
        assert found["addrs"] == [f"/ip4/{OUTSIDE}/tcp/4001", f"/ip4/{OUTSIDE}/udp/4001/quic-v1"]
        assert home.rules() == BOTH
        assert hello(home, "tcp", 4001) == "echo of hello"
        assert hello(home, "udp", 4001) == "echo of hello"
        await script.close()
        assert (await script.hear("ended"))["mappings"] == 0
        assert home.rules() == []


async def test_the_best_way_that_works_is_taken(home: Home) -> None:
    home.start_router()
    async with mapper(home) as script:
        assert (await script.hear("granted"))["via"] == "pcp"


async def test_a_router_that_knows_upnp_only_is_asked_over_upnp(home: Home) -> None:
    home.start_router(pcp=False)
    async with mapper(home) as script:
        assert (await script.hear("granted"))["via"] == "upnp"
        assert hello(home, "tcp", 4001) == "echo of hello"


@pytest.mark.parametrize("via", ALL)
async def test_a_short_lease_is_renewed(home: Home, via: str) -> None:
    home.start_router()
    async with mapper(home, only=(via,), lease_seconds=6) as script:
        await both_mapped(script)
        for _ in range(3):  # at half its life each: longer than one lease
            await script.hear("granted", port="udp 4001", renewed=True)
        assert home.rules() == BOTH
        assert hello(home, "udp", 4001) == "echo of hello"


@pytest.mark.parametrize("via", ALL)
async def test_after_the_router_was_restarted_ports_are_mapped_anew(home: Home, via: str) -> None:
    home.start_router()
    async with mapper(home, only=(via,)) as script:
        await both_mapped(script)
        for _ in range(5):  # a second apart; clocks that differ by less than two seconds prove nothing
            await script.hear("checked", lost=False)
        home.stop_router()
        assert home.rules() == []
        home.start_router()
        await script.hear("granted", port="tcp 4001")
        await script.hear("granted", port="udp 4001")
        assert home.rules() == BOTH
        assert hello(home, "tcp", 4001) == "echo of hello"


@pytest.mark.parametrize("via", ALL)
async def test_a_port_that_another_machine_has_is_mapped_at_another_number(home: Home, via: str) -> None:
    home.start_router()
    async with mapper(home, only=(via,)) as first, mapper(home, only=(via,), machine="two") as second:
        mapped = [(await both_mapped(script))["mappings"] for script in (first, second)]
        ports = {(row[0], row[3]) for rows in mapped for row in rows}  # type: ignore[attr-defined]
        assert len(ports) == 4
        assert all(hello(home, protocol, port) == "echo of hello" for protocol, port in ports)


async def test_a_router_behind_one_more_nat_maps_nothing_and_the_reason_is_told(home: Home) -> None:
    home.spaces.ip("router", "addr", "flush", "dev", "wan")
    home.spaces.address("router", "wan", "100.64.1.5/10")
    home.start_router()
    async with mapper(home) as script:
        for via in ALL:
            await script.hear("refused", via=via)
        await script.close()
        ended = await script.hear("ended")
        assert ended["mappings"] == 0
        assert home.rules() == []


async def test_where_no_router_answers_every_way_is_tried_and_the_reason_is_told(home: Home) -> None:
    async with mapper(home) as script:
        for via in ALL:
            assert (await script.hear("refused", via=via))["why"]
