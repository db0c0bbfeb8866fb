"""What stands in for "any address"."""

from functools import partial

import trio
from trio.testing import MockClock

from covey_node import limits
from covey_node.net.interfaces import expand, own_ips, watch_interfaces

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
