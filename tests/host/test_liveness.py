"""Peers that are gone without a word."""

import functools
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from covey_core.host import Connected, Disconnected
from covey_core.network import Network
from covey_core.peers import PeerId
from tests.host.conftest import host_on


@asynccontextmanager
async def child(network: Network) -> AsyncIterator[tuple[trio.Process, PeerId, list[str]]]:
    """A peer in a process of its own."""
    async with trio.open_nursery() as nursery:
        run = functools.partial(
            trio.run_process,
            [sys.executable, "-m", "tests.host.child", network.to_link()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            check=False,
        )
        process: trio.Process = await nursery.start(run)
        try:
            assert process.stdout is not None
            line = b""
            while not line.endswith(b"\n"):
                line += await process.stdout.receive_some()
            peer, *addrs = line.decode().split()
            yield process, PeerId(peer), addrs
        finally:
            process.kill()


async def test_a_stopped_peer_is_closed_in_time(private: Network) -> None:
    with trio.fail_after(60):
        async with (
            child(private) as (process, peer, addrs),
            host_on(private, liveness_interval_seconds=1, liveness_timeout_seconds=2) as alice,
        ):
            with alice.subscribe() as events:
                await alice.connect(peer, addrs)
                assert isinstance(await events.receive(), Connected)
                assert await alice.ping(peer) > 0
                process.send_signal(signal.SIGSTOP)
                with trio.fail_after(6):
                    assert isinstance(await events.receive(), Disconnected)
                assert alice.connections() == ()


async def test_a_killed_peer_is_closed_at_once_and_found_again_when_it_is_back(private: Network) -> None:
    with trio.fail_after(60):
        async with host_on(private) as alice:
            with alice.subscribe() as events:
                async with child(private) as (process, peer, addrs):
                    await alice.connect(peer, addrs)
                    assert isinstance(await events.receive(), Connected)
                    process.kill()
                    with trio.fail_after(5):
                        assert isinstance(await events.receive(), Disconnected)
