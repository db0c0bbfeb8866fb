"""Relayed connections become direct ones, over real sockets on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import trio

from covey_core.host import Host, HostConfig, open_host
from covey_core.identity import Identity
from covey_core.network import Network
from covey_node.net.puncher import Puncher, own_addrs
from covey_node.net.relays import RelayClient
from covey_node.protocol.punch_log import Ending, PunchOutcome, Side
from tests.support.people import running_relay

NOWHERE = "/ip4/127.0.0.1/tcp/9"
"""What both announce: a plain dial to it is refused, so that only a punch can lead to a direct connection."""


@dataclass
class Person:
    """A host that uses the relay, and its puncher."""

    host: Host
    relays: RelayClient
    puncher: Puncher
    outcomes: list[PunchOutcome] = field(default_factory=list)


@asynccontextmanager
async def person(network: Network) -> AsyncIterator[Person]:
    config = HostConfig(Identity.generate(), network, ("/ip4/127.0.0.1/tcp/0",), (NOWHERE,))
    async with open_host(config) as host, trio.open_nursery() as nursery:
        relays = RelayClient(host, network.relays, lambda: None)
        outcomes: list[PunchOutcome] = []
        puncher = Puncher(host, lambda: own_addrs(host), outcomes.append)
        nursery.start_soon(relays.run)
        nursery.start_soon(puncher.run)
        with trio.fail_after(10):
            while not relays.held():
                await relays.wait_change()
            while not own_addrs(host):
                await trio.testing.wait_all_tasks_blocked(0.01)
        yield Person(host, relays, puncher, outcomes)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def two_people() -> AsyncIterator[tuple[Person, Person]]:
    async with AsyncExitStack() as stack:
        network, _, _ = await stack.enter_async_context(running_relay())
        yield await stack.enter_async_context(person(network)), await stack.enter_async_context(person(network))


async def direct(host: Host, peer: str) -> None:
    with trio.fail_after(20):
        while not any(not one.relayed and one.admitted for one in host.connections(peer)):  # type: ignore[arg-type]
            await trio.testing.wait_all_tasks_blocked(0.01)


async def test_a_relayed_connection_becomes_a_direct_one() -> None:
    async with two_people() as (alice, bob):
        alice.puncher.nat, bob.puncher.nat = (lambda: "easy"), (lambda: "unknown")
        relay = next(iter(alice.relays.relays.values()))
        await alice.relays.dial(relay.peer, relay.addrs, bob.host.peer_id)
        await direct(alice.host, bob.host.peer_id)
        await direct(bob.host, alice.host.peer_id)
        with trio.fail_after(10):
            while not (alice.outcomes and bob.outcomes):
                await trio.testing.wait_all_tasks_blocked(0.01)
        (theirs,), (ours,) = bob.outcomes, alice.outcomes
        assert (theirs.side, theirs.outcome, theirs.attempts) == (Side.INITIATOR, Ending.SUCCESS, 1), theirs
        assert (ours.side, ours.outcome, ours.attempts) == (Side.RECEIVER, Ending.SUCCESS, 1)
        assert (theirs.their_nat, ours.their_nat) == ("easy", None), "what is not known is not told"
        assert any(one.relayed for one in alice.host.connections(bob.host.peer_id)), "the relayed leg stays"


async def test_both_dialing_each_other_at_once_come_to_one_punch() -> None:
    async with two_people() as (alice, bob):
        relay = next(iter(alice.relays.relays.values()))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(alice.relays.dial, relay.peer, relay.addrs, bob.host.peer_id)
            nursery.start_soon(bob.relays.dial, relay.peer, relay.addrs, alice.host.peer_id)
        await direct(alice.host, bob.host.peer_id)
        await direct(bob.host, alice.host.peer_id)
        with trio.fail_after(10):
            while not (alice.outcomes and bob.outcomes):
                await trio.testing.wait_all_tasks_blocked(0.01)
        assert {alice.outcomes[0].side, bob.outcomes[0].side} == {Side.INITIATOR, Side.RECEIVER}
        assert alice.outcomes[0].outcome is bob.outcomes[0].outcome is Ending.SUCCESS
