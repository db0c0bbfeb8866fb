"""Paths that die without a word: packets vanish, no socket is closed; the conversation goes on over the next one."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from covey_core.host import ConnectionInfo
from covey_core.peers import PeerId
from covey_node.protocol.paths import PathKind
from covey_node.protocol.status import Status
from covey_node.service.node import Node
from tests.support.netns import own_network
from tests.support.people import acquaint, reaches, running_node, running_relay, say, texts

MOST_SECONDS = 12.0  # DESIGN 3: noticed and replaced within 12 s while sending


def _device(node: Node) -> PeerId:
    return node._parts.host.peer_id


def _port(info: ConnectionInfo) -> int:
    return int(info.remote_addr.split("/")[4])


def _direct(node: Node, peer: PeerId) -> list[ConnectionInfo]:
    return [info for info in node._parts.host.connections(peer) if info.admitted and not info.relayed]


async def _stand_by(alice: Node, bob: Node) -> None:
    """Let a relayed leg stand beside the direct path, and a stream on each side be open."""
    relay = next(iter(alice._parts.relays.relays.values()))
    await alice._parts.relays.dial(relay.peer, relay.addrs, _device(bob))
    await reaches(alice, await say(alice, "bob", "a0"), Status.DELIVERED)
    await reaches(bob, await say(bob, "alice", "b0"), Status.DELIVERED)
    assert alice._parts.dialer.path(_device(bob))[0] is not PathKind.RELAYED


async def _keep_talking(node: Node, contact: str, head: str, count: int, said: dict[str, Node]) -> None:
    for number in range(1, count + 1):
        said[await say(node, contact, f"{head}{number}")] = node
        await trio.sleep(0.1)


async def test_a_direct_path_that_dies_silently_costs_twelve_seconds_at_most_and_no_message(tmp_path: Path) -> None:
    with own_network() as net:
        async with (
            running_relay() as (network, _, _),
            running_node(tmp_path / "alice", network) as alice,
            running_node(tmp_path / "bob", network) as bob,
        ):
            await acquaint(alice, bob)
            await _stand_by(alice, bob)
            (there,), (back,) = _direct(alice, _device(bob)), _direct(bob, _device(alice))
            said: dict[str, Node] = {}
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_keep_talking, alice, "bob", "a", 30, said)
                nursery.start_soon(_keep_talking, bob, "alice", "b", 30, said)
                await trio.sleep(1)
                net.cut(_port(there), _port(back))
                began = trio.current_time()
            for message, node in said.items():
                await reaches(node, message, Status.DELIVERED)
            assert trio.current_time() - began <= MOST_SECONDS
            assert [text for text in await texts(bob, "alice") if text and text[0] == "a"] == [
                f"a{number}" for number in range(31)
            ]
            assert [text for text in await texts(alice, "bob") if text and text[0] == "b"] == [
                f"b{number}" for number in range(31)
            ]
            assert alice._parts.dialer.path(_device(bob))[0] is PathKind.RELAYED
            assert bob._parts.dialer.path(_device(alice))[0] is PathKind.RELAYED
