"""What stands in for "any address"."""

import errno
import os
from functools import partial
from types import SimpleNamespace
from typing import Any, NoReturn

import psutil
import pytest
import trio
from trio.testing import MockClock

from covey_core.network import new_network
from covey_node import limits
from covey_node.net.interfaces import expand, own_ips, watch_interfaces
from covey_node.net.lan import LanDiscovery

PEER = "12D3KooWJcgAShtF3zfotuaLEXY3XVbraVv7nV98fwwfs3dUGWRT"


def test_any_address_becomes_those_of_the_interfaces() -> None:
    found = expand([f"/ip4/0.0.0.0/tcp/4201/p2p/{PEER}"])
    assert found
    assert all("/0.0.0.0/" not in addr for addr in found)
    assert all(addr.endswith(f"/tcp/4201/p2p/{PEER}") for addr in found)


def test_a_certain_address_stays_as_it_is() -> None:
    addrs = (f"/ip4/127.0.0.1/tcp/4201/p2p/{PEER}", f"/ip4/10.1.2.3/tcp/4202/ws/p2p/{PEER}")
    assert expand(addrs) == addrs


async def test_a_change_of_the_interfaces_is_told_within_five_seconds_and_once(autojump_clock: MockClock) -> None:
    found, told = frozenset({"192.0.2.1"}), list[float]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(watch_interfaces, lambda: told.append(trio.current_time()), look=lambda: found))
        await trio.sleep(100)
        assert not told
        found = frozenset({"192.0.2.1", "198.51.100.1"})
        began = trio.current_time()
        await trio.sleep(100)
        assert len(told) == 1
        assert told[0] - began <= limits.INTERFACES_LOOK_SECONDS
        nursery.cancel_scope.cancel()


def test_loopback_is_no_interface_that_counts() -> None:
    assert not any(ip.startswith("127.") or ip == "::1" for ip in own_ips())


def test_without_a_free_descriptor_any_address_is_left_out_and_certain_ones_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(psutil, "net_if_addrs", _no_descriptor)
    assert expand(["/ip4/0.0.0.0/tcp/4201", "/ip4/127.0.0.1/tcp/4202"]) == ("/ip4/127.0.0.1/tcp/4202",)


async def test_a_look_that_fails_is_no_change_and_does_not_end_the_watch(autojump_clock: MockClock) -> None:
    """Strangers may use up all file descriptors of a public node; then the system tells no addresses."""
    addresses, told = {"192.0.2.1"}, list[float]()

    def look() -> frozenset[str]:
        return frozenset(addresses) if addresses else _no_descriptor()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(watch_interfaces, lambda: told.append(trio.current_time()), look=look))
        await trio.sleep(20)
        addresses.clear()
        await trio.sleep(20)
        addresses.add("192.0.2.1")
        await trio.sleep(20)
        assert not told
        addresses.add("192.0.2.2")
        await trio.sleep(20)
        assert len(told) == 1
        nursery.cancel_scope.cancel()


async def test_discovery_goes_on_when_the_system_tells_no_interfaces(autojump_clock: MockClock) -> None:
    looks: list[float] = []

    def interfaces() -> NoReturn:
        looks.append(trio.current_time())
        _no_descriptor()

    host: Any = SimpleNamespace(addrs=(), network=new_network("test", private=False))
    lan = LanDiscovery(host, wanted=lambda _peer: True, found=lambda _peer, _fresh: None, interfaces=interfaces)
    with trio.move_on_after(30):
        await lan.run()
    assert len(looks) > 1


def _no_descriptor() -> NoReturn:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
