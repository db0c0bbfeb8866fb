"""Nodes that can be dialed nowhere come to direct connections; strangers do not learn where they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from covey_core.network import new_network
from covey_node.protocol.paths import PathKind
from covey_node.protocol.status import ContactState, Status
from covey_node.service.node import Node
from tests.relay.test_connect import has_ip6
from tests.support.people import acquaint, in_state, people, reaches, running_node, running_relay, say, until

IP6 = "ip6/::1"
NOWHERE = ("/ip4/127.0.0.1/tcp/9",)


async def _path(node: Node, contact: str) -> PathKind:
    return (await people(node))[contact].path


async def test_contacts_that_nobody_can_dial_come_to_a_punched_path(tmp_path: Path) -> None:
    async with (
        running_relay() as (network, _, _),
        running_node(tmp_path / "alice", network, announce=NOWHERE) as alice,
        running_node(tmp_path / "bob", network, announce=NOWHERE) as bob,
    ):
        await acquaint(alice, bob)
        with trio.fail_after(20):
            while {await _path(alice, "bob"), await _path(bob, "alice")} != {PathKind.PUNCHED}:
                await trio.testing.wait_all_tasks_blocked(0.02)
        message = await say(alice, "bob", "over the punched path")
        await reaches(alice, message, Status.DELIVERED)


@pytest.mark.parametrize("announce", [NOWHERE, ()])
async def test_contacts_whose_addresses_are_ipv6_come_to_a_direct_path(
    tmp_path: Path, announce: tuple[str, ...]
) -> None:
    """By a punch where nobody knows their addresses, else by a dial."""
    if not has_ip6():
        pytest.skip("this machine has no IPv6 loopback")
    wanted = PathKind.PUNCHED if announce else PathKind.LAN
    async with (
        running_relay(new_network("six", private=True, subnets=("127.0.0.0/8", "::1/128")), ip=IP6) as (network, _, _),
        running_node(tmp_path / "alice", network, announce=announce, ip=IP6) as alice,
        running_node(tmp_path / "bob", network, announce=announce, ip=IP6) as bob,
    ):
        await acquaint(alice, bob)
        with trio.fail_after(20):
            while {await _path(alice, "bob"), await _path(bob, "alice")} != {wanted}:
                await trio.testing.wait_all_tasks_blocked(0.02)
        await reaches(alice, await say(alice, "bob", "over IPv6"), Status.DELIVERED)
        (used,) = [one for one in (await alice.doctor("bob")).contacts[0].paths if one.used]
        assert used.address.startswith("/ip6/")


async def test_who_only_asked_to_be_a_contact_is_not_punched_with(tmp_path: Path) -> None:
    async with (
        running_relay() as (network, _, _),
        running_node(tmp_path / "alice", network, announce=NOWHERE) as alice,
        running_node(tmp_path / "bob", network, announce=NOWHERE) as bob,
    ):
        invite = await alice.invite(label="anybody", valid_seconds=3600, one_use=False)
        assert invite.link is not None
        await bob.add(invite.link, alias="alice", intro="let me in")
        await until(alice, lambda: in_state(alice, "bob", ContactState.INCOMING))
        await until(bob, lambda: in_state(bob, "alice", ContactState.REQUESTED))
        with trio.fail_after(20):
            while not (standing := alice._parts.host.connections(bob._parts.host.peer_id)):
                await trio.testing.wait_all_tasks_blocked(0.02)
        assert all(one.relayed for one in standing)
        assert await _path(bob, "alice") is PathKind.RELAYED
        await alice.accept("bob", alias=None)
        with trio.fail_after(60):
            while await _path(alice, "bob") is not PathKind.PUNCHED:
                await trio.testing.wait_all_tasks_blocked(0.05)
