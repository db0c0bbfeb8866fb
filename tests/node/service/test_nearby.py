"""Contacts' devices heard on the local network are dialled, also beside a circuit; nobody else is.

Whole nodes that really multicast: tests/lan.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any

import trio
import trio.testing
from trio.testing import MockClock

from covey_core.errors import Unreachable
from covey_core.host import ConnectionInfo, Disconnected
from covey_core.identity import Identity
from covey_core.network import new_network
from covey_node import limits
from covey_node.protocol.mdns import Found
from covey_node.service.effects import Effects
from covey_node.service.nearby import Nearby

LAN = ip_network("192.168.77.0/24")
BOB, CAROL, STRANGER = (Identity.generate().peer_id for _ in range(3))
IP = "192.168.77.3"


class World:
    """A host, a ledger and a local network made of Python."""

    def __init__(self) -> None:
        self.devices = frozenset({BOB})
        self.addrs = ()
        self.network = new_network("test", private=False)
        self.standing: dict[str, bool] = {}  # peer: is it relayed
        self.dialled: list[tuple[str, tuple[str, ...]]] = []
        self.refuses = self.hangs = False
        self.followers: list[Any] = []
        self._events, self._heard = trio.open_memory_channel[Any](8)
        self.nearby = Nearby(self, self, SimpleNamespace(), [])  # type: ignore[arg-type]
        self.nearby.lan._interfaces = tuple

    # as a ledger
    def follow(self, follower: Any) -> None:
        self.followers.append(follower)

    async def read(self, _function: Any) -> frozenset[str]:
        return self.devices

    # as a host
    def connections(self, peer: str) -> list[Any]:
        return [SimpleNamespace(admitted=True, relayed=self.standing[peer])] if peer in self.standing else []

    async def connect(self, peer: str, addrs: tuple[str, ...], *, timeout_seconds: float) -> None:
        self.dialled.append((peer, addrs))
        if self.hangs:
            await trio.sleep(timeout_seconds)
        if self.refuses:
            raise Unreachable("nobody is there")
        self.standing[peer] = False

    @contextmanager
    def subscribe(self) -> Iterator[Any]:
        yield self._heard

    # what happens
    def hear(self, peer: str, ip: str = IP) -> None:
        """An answer comes in."""
        room = SimpleNamespace(interface=SimpleNamespace(subnets=(LAN,)))
        found = Found(peer, (addr_of(peer, ip),), 120)  # type: ignore[arg-type]
        heard = SimpleNamespace(asks=False, asks_for_services=False, found=(found,))
        self.nearby.lan._hear(heard, room, ip, trio.current_time())  # type: ignore[arg-type]

    async def lose(self, peer: str) -> None:
        """The connection to a peer ends."""
        del self.standing[peer]
        direct = {"inbound": False, "relayed": False, "admitted": True, "transport": "tcp"}
        info = ConnectionInfo(number=1, peer=peer, remote_addr=addr_of(peer, IP), **direct)  # type: ignore[arg-type]
        await self._events.send(Disconnected(info, left=0))


def addr_of(peer: str, ip: str) -> str:
    return f"/ip4/{ip}/tcp/4001/p2p/{peer}"


@asynccontextmanager
async def running() -> AsyncIterator[World]:
    world = World()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.nearby.run)
        await trio.testing.wait_all_tasks_blocked()
        yield world
        nursery.cancel_scope.cancel()


async def test_a_contacts_device_that_is_heard_is_dialled_where_it_was_heard(autojump_clock: MockClock) -> None:
    async with running() as world:
        world.hear(BOB)
        await trio.testing.wait_all_tasks_blocked()
        assert world.dialled == [(BOB, (addr_of(BOB, IP),))]


async def test_who_stands_relayed_only_is_dialled_directly_too(autojump_clock: MockClock) -> None:
    async with running() as world:
        world.standing[BOB] = True
        world.hear(BOB)
        await trio.testing.wait_all_tasks_blocked()
        assert [peer for peer, _ in world.dialled] == [BOB]
        assert world.standing[BOB] is False
        world.hear(BOB)
        await trio.sleep(10 * limits.LAN_RETRY_SECONDS)
        assert len(world.dialled) == 1, "a direct connection stands"


async def test_nobody_else_is_dialled_or_kept_before_becoming_a_contact(autojump_clock: MockClock) -> None:
    async with running() as world:
        for peer in (STRANGER, CAROL):
            world.hear(peer)
        await trio.sleep(60)
        assert world.dialled == []
        assert world.nearby.lan.peers() == ()
        world.devices = frozenset({BOB, CAROL})
        effects = Effects()
        effects.contacts[1] = None
        world.followers[0](effects)
        await trio.testing.wait_all_tasks_blocked()
        for peer in (STRANGER, CAROL):
            world.hear(peer)
        await trio.sleep(60)
        assert [peer for peer, _ in world.dialled] == [CAROL]


async def test_a_connection_that_ended_is_made_anew_while_the_neighbour_is_there(autojump_clock: MockClock) -> None:
    async with running() as world:
        world.hear(BOB)
        await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(1)
        world.hear(BOB, "192.168.77.200")
        await world.lose(BOB)
        await trio.testing.wait_all_tasks_blocked()
        assert world.dialled[1:] == [(BOB, (addr_of(BOB, "192.168.77.200"), addr_of(BOB, IP)))]
        await trio.sleep(limits.MDNS_TTL_SECONDS)
        await world.lose(BOB)
        await trio.sleep(60)
        assert len(world.dialled) == 2, "it was not heard for two minutes"


async def test_who_does_not_answer_is_tried_ever_more_seldom_but_at_once_at_a_new_address(
    autojump_clock: MockClock,
) -> None:
    async with running() as world:
        world.refuses = True
        for _ in range(10):
            world.hear(BOB)
            await trio.sleep(60)
        assert 6 <= len(world.dialled) <= 12  # 5, 10, 20, 40, then 80 s
        before = len(world.dialled)
        world.hear(BOB, "192.168.77.9")
        await trio.testing.wait_all_tasks_blocked()
        assert len(world.dialled) == before + 1


async def test_a_neighbour_with_ever_new_addresses_is_dialled_once_at_a_time(autojump_clock: MockClock) -> None:
    """Anybody here may answer with a contact's PeerId: its dials would all wait for each other, the user's too."""
    async with running() as world:
        world.refuses = world.hangs = True
        for number in range(2, 250):
            world.hear(BOB, f"192.168.77.{number}")
        await trio.testing.wait_all_tasks_blocked()
        assert len(world.dialled) == 1
        await trio.sleep(limits.LAN_DIAL_SECONDS + limits.LAN_RETRY_SECONDS + 1)
        assert len(world.dialled) == 2, "the last ones are tried afterwards"
