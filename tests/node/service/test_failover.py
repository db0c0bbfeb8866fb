"""Paths that die without a word: packets vanish, no socket is closed; the conversation goes on over the next one."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from subprocess import PIPE, Popen

import pytest
import trio

from covey_core.host import ConnectionInfo
from covey_core.network import Network, RelayEntry, peer_in, save_network
from covey_core.peers import PeerId
from covey_node.protocol.paths import PathKind
from covey_node.protocol.status import Status
from covey_node.service.node import Node
from tests.support.netns import own_network
from tests.support.people import PATIENCE_SECONDS, acquaint, reaches, running_node, running_relay, say, texts

MOST_SECONDS = 12.0  # DESIGN 3: noticed and replaced within 12 s while sending


def _device(node: Node) -> PeerId:
    return node._parts.host.peer_id


def _port(info: ConnectionInfo) -> int:
    return _port_in(info.remote_addr)


def _direct(node: Node, peer: PeerId) -> list[ConnectionInfo]:
    return [info for info in node._parts.host.connections(peer) if info.admitted and not info.relayed]


async def _stand_by(alice: Node, bob: Node) -> None:
    """Let a relayed leg stand beside the direct path, and a stream on each side be open."""
    relay = next(iter(alice._parts.relays.relays.values()))
    await alice._parts.relays.dial(relay.peer, relay.addrs, _device(bob))
    await reaches(alice, await say(alice, "bob", "a0"), Status.DELIVERED)
    await reaches(bob, await say(bob, "alice", "b0"), Status.DELIVERED)
    assert alice._parts.dialer.path(_device(bob))[0] is not PathKind.RELAYED


async def _talk(alice: Node, bob: Node, *, at_ten: Callable[[], None]) -> list[tuple[Node, str]]:
    """Say 30 things on each side, as fast as the disk takes them; at the tenth something happens."""
    said = []
    for number in range(1, 31):
        said.append((alice, await say(alice, "bob", f"a{number}")))
        said.append((bob, await say(bob, "alice", f"b{number}")))
        if number == 10:
            at_ten()
    return said


@pytest.mark.parametrize("transport", ["tcp/{port}", "udp/{port}/quic-v1"], ids=["tcp", "quic"])
async def test_a_direct_path_that_dies_silently_costs_twelve_seconds_at_most_and_no_message(
    tmp_path: Path, transport: str
) -> None:
    with own_network() as net:
        async with (
            running_relay() as (network, _, _),
            running_node(tmp_path / "alice", network, transport=transport) as alice,
            running_node(tmp_path / "bob", network, transport=transport) as bob,
        ):
            await acquaint(alice, bob)
            await _stand_by(alice, bob)
            (there,), (back,) = _direct(alice, _device(bob)), _direct(bob, _device(alice))
            began = trio.current_time()
            said = await _talk(alice, bob, at_ten=lambda: net.cut(_port(there), _port(back)))
            for node, message in said:
                await reaches(node, message, Status.DELIVERED)
            assert trio.current_time() - began <= MOST_SECONDS
            _all_came_once(await texts(bob, "alice"), "a", range(31))
            _all_came_once(await texts(alice, "bob"), "b", range(31))
            assert alice._parts.dialer.path(_device(bob))[0] is PathKind.RELAYED
            assert bob._parts.dialer.path(_device(alice))[0] is PathKind.RELAYED


async def test_where_no_relayed_leg_stands_a_circuit_is_opened_when_the_direct_path_dies(tmp_path: Path) -> None:
    with own_network() as net:
        async with (
            running_relay() as (network, _, _),
            running_node(tmp_path / "alice", network) as alice,
            running_node(tmp_path / "bob", network) as bob,
        ):
            await acquaint(alice, bob)
            await reaches(alice, await say(alice, "bob", "a0"), Status.DELIVERED)
            for node, other in ((alice, bob), (bob, alice)):
                for info in node._parts.host.connections(_device(other)):
                    if info.relayed:
                        await node._parts.host.close_connection(info.number)
            net.leave_only(_port_in(network.relays[0].addrs[0]))
            began = trio.current_time()
            message = await say(alice, "bob", "a1")
            await reaches(alice, message, Status.DELIVERED)
            assert trio.current_time() - began <= MOST_SECONDS
            assert (await alice.message(message)).path is PathKind.RELAYED
            _all_came_once(await texts(bob, "alice"), "a", range(2))


@asynccontextmanager
async def _relay_process(folder: Path, network: Network) -> AsyncIterator[tuple[Network, Popen[str]]]:
    """A relay that can be killed or paused; yields the network that names it first."""
    file = folder / "network.json"
    save_network(file, network)
    command = [sys.executable, "-m", "tests.support.relay_process", str(file)]
    # By this thread: those that trio would start it from are in other networks.
    with Popen(command, stdin=PIPE, stdout=PIPE, text=True) as process:  # noqa: ASYNC220
        try:
            assert process.stdout is not None
            with trio.fail_after(20):
                addr = (await trio.to_thread.run_sync(process.stdout.readline, abandon_on_cancel=True)).strip()
            yield replace(network, relays=(RelayEntry("fragile", (addr,)), *network.relays)), process
        finally:
            process.kill()


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "paused"])
async def test_a_relay_that_is_killed_or_paused_is_replaced_by_the_other_and_no_message_lost(
    tmp_path: Path, signal_number: signal.Signals
) -> None:
    with own_network():
        async with (
            running_relay() as (base, _, _),
            _relay_process(tmp_path, base) as (network, process),
            running_node(tmp_path / "alice", network, listens=False) as alice,
            running_node(tmp_path / "bob", network, listens=False) as bob,
        ):
            fragile = peer_in(network.relays[0].addrs[0])
            for node in (alice, bob):
                with trio.fail_after(20):
                    while len(node._parts.relays.held()) < 2:
                        await node._parts.relays.wait_change()
            await alice._parts.relays.dial(fragile, network.relays[0].addrs, _device(bob))
            await acquaint(alice, bob)
            assert [info.relay for info in alice._parts.host.connections(_device(bob))] == [fragile]
            began = trio.current_time()
            said = await _talk(alice, bob, at_ten=lambda: os.kill(process.pid, signal_number))
            for node, message in said:
                await reaches(node, message, Status.DELIVERED)
            assert trio.current_time() - began <= MOST_SECONDS
            _all_came_once(await texts(bob, "alice"), "a", range(1, 31))
            _all_came_once(await texts(alice, "bob"), "b", range(1, 31))


async def test_a_conversation_moves_to_a_better_path_and_loses_nothing(tmp_path: Path) -> None:
    with own_network() as net:
        async with (
            running_relay() as (network, _, _),
            running_node(tmp_path / "alice", network) as alice,
            running_node(tmp_path / "bob", network) as bob,
        ):
            net.cut(_listens_on(alice), _listens_on(bob))
            relay = network.relays[0]
            for node in (alice, bob):
                while not node._parts.relays.held():
                    await node._parts.relays.wait_change()
            await alice._parts.relays.dial(peer_in(relay.addrs[0]), relay.addrs, _device(bob))
            await acquaint(alice, bob)
            assert bob._parts.dialer.path(_device(alice))[0] is PathKind.RELAYED
            counts = {"a": 0, "b": 0}

            async def talk_until_moved(node: Node, contact: str, head: str, other: Node) -> None:
                message = ""
                while not message or (await node.message(message)).path is PathKind.RELAYED:
                    for _ in range(3):  # several are under way at a time
                        counts[head] += 1
                        message = await say(node, contact, f"{head}{counts[head]}")
                    await reaches(node, message, Status.DELIVERED)
                assert node._parts.dialer.path(_device(other))[0] is not PathKind.RELAYED

            with trio.fail_after(PATIENCE_SECONDS):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(talk_until_moved, alice, "bob", "a", bob)
                    nursery.start_soon(talk_until_moved, bob, "alice", "b", alice)
                    net.heal()
                    await alice._parts.host.connect(_device(bob), bob._parts.host.addrs)
            _all_came_once(await texts(bob, "alice"), "a", range(1, counts["a"] + 1))
            _all_came_once(await texts(alice, "bob"), "b", range(1, counts["b"] + 1))


def _listens_on(node: Node) -> int:
    return _port_in(node._parts.host.addrs[0])


def _port_in(addr: str) -> int:
    return int(addr.split("/")[4])


def _all_came_once(history: list[str | None], head: str, numbers: range) -> None:
    assert [text for text in history if text and text[0] == head] == [f"{head}{number}" for number in numbers]
