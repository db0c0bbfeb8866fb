"""Public nodes that help, and nodes that are helped: hosts with real sockets on loopback."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from covey_core.errors import StreamLost
from covey_core.host import Host, HostConfig, open_host
from covey_core.identity import Identity
from covey_core.network import RelayEntry, new_network
from covey_core.peers import PeerId
from covey_core.wire.autonat import DIAL_REQUEST_PROTOCOL
from covey_core.wire.circuit import HOP_PROTOCOL
from covey_node import limits
from covey_node.net.relays import RelayClient
from covey_node.service.helping import HELPER_LIMITS, Helping, Steadily
from covey_node.service.spares import Spares
from covey_relay.service import open_relay_service
from tests.support.circuit_client import until

NETWORK = new_network("loopback", private=True, subnets=("127.0.0.0/8",))
TCP = "/ip4/127.0.0.1/tcp/0"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HELP_START_SECONDS", "HELP_STOP_SECONDS", "HELP_LOOK_SECONDS"):
        monkeypatch.setattr(limits, name, 0.01)


@asynccontextmanager
async def host_on(*listen: str, identity: Identity | None = None) -> AsyncIterator[Host]:
    async with open_host(HostConfig(identity or Identity.generate(), NETWORK, listen)) as host:
        yield host


@dataclass
class Helper:
    """A node that helps while `public`."""

    host: Host
    public: bool = True
    helping: Helping = field(init=False)

    def addrs(self) -> tuple[str, ...]:
        return self.host.addrs if self.public else ()


@asynccontextmanager
async def helper(*, public: bool = True) -> AsyncIterator[Helper]:
    identity = Identity.generate()
    async with host_on(TCP, identity=identity) as host, trio.open_nursery() as nursery:
        found = Helper(host, public=public)
        found.helping = Helping(host, identity, found.addrs)
        nursery.start_soon(found.helping.run)
        yield found
        nursery.cancel_scope.cancel()


async def comes(condition: Callable[[], bool]) -> None:
    with trio.fail_after(20):
        await until(condition)


async def speaks(host: Host, peer: PeerId, protocol: str) -> bool:
    try:
        stream = await host.open_stream(peer, protocol)
    except StreamLost:
        return False
    await stream.reset()
    return True


# --- when ---------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 30)), min_size=1, max_size=30))
def test_only_what_held_without_a_break_counts(steps):
    steadily, now, held_since = Steadily(60.0), 0.0, None
    for holds, wait in steps:
        now += wait
        held_since = None if not holds else now if held_since is None else held_since
        assert steadily.look(holds=holds, now=now) is (held_since is not None and now - held_since >= 60)


async def test_a_public_node_serves_circuits_and_autonat(impatient):
    async with helper() as node, host_on() as other:
        await other.connect(node.host.peer_id, node.host.addrs)
        await comes(lambda: node.helping.service is not None)
        assert await speaks(other, node.host.peer_id, HOP_PROTOCOL)
        assert await speaks(other, node.host.peer_id, DIAL_REQUEST_PROTOCOL)


async def test_a_node_that_is_not_public_serves_nothing(impatient):
    async with helper(public=False) as node, host_on() as other:
        await other.connect(node.host.peer_id, node.host.addrs)
        assert not await speaks(other, node.host.peer_id, HOP_PROTOCOL)
        assert node.helping.service is None


async def test_help_ends_when_the_node_is_public_no_longer_and_begins_again(impatient):
    async with helper() as node, host_on() as other:
        await other.connect(node.host.peer_id, node.host.addrs)
        await comes(lambda: node.helping.service is not None)
        node.public = False
        await comes(lambda: node.helping.service is None)
        assert not await speaks(other, node.host.peer_id, HOP_PROTOCOL)
        node.public = True
        await comes(lambda: node.helping.service is not None)


def test_a_node_gives_far_less_than_a_relay():
    assert (HELPER_LIMITS.reservations, HELPER_LIMITS.circuits) == (16, 8)
    assert (HELPER_LIMITS.circuit_bytes, HELPER_LIMITS.circuit_seconds) == (64 * 1024 * 1024, 1800)


# --- for whom -----------------------------------------------------------------------------------------------------


async def anybody(_peer: PeerId) -> bool:
    await trio.lowlevel.checkpoint()
    return True


async def nobody(_peer: PeerId) -> bool:
    await trio.lowlevel.checkpoint()
    return False


@dataclass
class Hidden:
    """A node that nobody can dial, with its relay client."""

    host: Host
    relays: RelayClient
    spares: Spares


@asynccontextmanager
async def hidden(*relays: RelayEntry, is_contact=anybody, public: bool = False) -> AsyncIterator[Hidden]:
    async with host_on() as host, trio.open_nursery() as nursery:
        client = RelayClient(host, relays, lambda: None)
        nursery.start_soon(client.run)
        yield Hidden(host, client, Spares(host, client, is_contact, lambda: public))
        nursery.cancel_scope.cancel()


async def test_a_third_node_really_comes_through_a_contact_that_helps(impatient):
    async with helper() as contact, hidden() as bob, hidden() as carol:
        await bob.host.connect(contact.host.peer_id, contact.host.addrs)
        await comes(lambda: contact.helping.service is not None)
        await bob.spares.look()
        await comes(lambda: bool(bob.relays.held()))
        (address,) = bob.relays.circuit_addrs()
        assert address == f"{contact.host.addrs[0]}/p2p-circuit/p2p/{bob.host.peer_id}"
        with trio.fail_after(20):
            await carol.relays.dial(contact.host.peer_id, contact.host.addrs, bob.host.peer_id)
            assert await carol.host.ping(bob.host.peer_id) > 0
        (info,) = carol.host.connections(bob.host.peer_id)
        assert info.relayed
        assert contact.helping.service is not None
        assert contact.helping.service.circuits == 1


async def test_the_slot_goes_with_the_contact(impatient):
    async with hidden() as bob:
        async with helper() as contact:
            await bob.host.connect(contact.host.peer_id, contact.host.addrs)
            await comes(lambda: contact.helping.service is not None)
            await bob.spares.look()
            await comes(lambda: bool(bob.relays.held()))
        await comes(lambda: not bob.relays.held())
        await bob.spares.look()
        assert not bob.relays.relays


async def test_strangers_and_contacts_that_do_not_help_are_no_spares(impatient):
    async with helper() as contact, helper(public=False) as idle, hidden(is_contact=nobody) as bob, hidden() as carol:
        await comes(lambda: contact.helping.service is not None)
        await bob.host.connect(contact.host.peer_id, contact.host.addrs)
        await carol.host.connect(idle.host.peer_id, idle.host.addrs)
        for node in (bob, carol):
            await node.spares.look()
            assert not node.relays.relays


async def test_who_is_public_needs_no_slot(impatient):
    async with helper() as contact, hidden(public=True) as bob:
        await comes(lambda: contact.helping.service is not None)
        await bob.host.connect(contact.host.peer_id, contact.host.addrs)
        await bob.spares.look()
        assert not bob.relays.relays


@asynccontextmanager
async def relay(operator: str) -> AsyncIterator[RelayEntry]:
    identity = Identity.generate()
    async with host_on(TCP, identity=identity) as host, open_relay_service(host, identity=identity):
        yield RelayEntry(operator, host.addrs)


async def test_with_enough_relays_no_contact_is_asked(impatient):
    async with helper() as contact, relay("one") as one, relay("two") as two, hidden(one, two) as bob:
        await comes(lambda: contact.helping.service is not None)
        await bob.host.connect(contact.host.peer_id, contact.host.addrs)
        await comes(lambda: len(bob.relays.held()) == 2)
        await bob.spares.look()
        assert set(bob.relays.relays) == {one.peer, two.peer}


async def test_one_relay_is_completed_by_a_contact(impatient):
    async with helper() as contact, relay("one") as one, hidden(one) as bob:
        await comes(lambda: contact.helping.service is not None)
        await bob.host.connect(contact.host.peer_id, contact.host.addrs)
        await comes(lambda: len(bob.relays.held()) == 1)
        await bob.spares.look()
        await comes(lambda: len(bob.relays.held()) == 2)
        assert {slot.peer for slot in bob.relays.held()} == {one.peer, contact.host.peer_id}
