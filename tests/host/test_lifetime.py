"""What a connection leaves behind when it has ended: nothing."""

import gc
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import wait_all_tasks_blocked

from covey_core.host import Host, Stream, limits
from covey_core.host.websocket import WebSocketBytes
from covey_core.network import Network
from tests.host.conftest import TCP, WS, ask_stock, host_on

_CYCLES = 1_000


def tasks() -> int:
    return trio.lowlevel.current_statistics().tasks_living


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def until_gone(host: Host) -> None:
    with host.subscribe() as events:
        while host.connections():
            await events.receive()


async def settled(expected: int) -> int:
    """The number of tasks, once it is `expected` or nothing moves any more."""
    for _ in range(100):
        await wait_all_tasks_blocked(0.01)
        if tasks() <= expected:
            break
    return tasks()


async def test_a_thousand_connections_come_and_go_and_leave_nothing(public: Network) -> None:
    with trio.fail_after(300):
        async with host_on(public) as bob, host_on(public) as alice:
            await alice.connect(bob.peer_id, bob.addrs)
            await alice.disconnect(bob.peer_id)
            await until_gone(bob)
            before = await settled(0)
            open_files = descriptors()
            for _ in range(_CYCLES):
                await alice.connect(bob.peer_id, bob.addrs)
                await alice.disconnect(bob.peer_id)
            await until_gone(bob)
            assert await settled(before) <= before
            assert descriptors() <= open_files + 2
            assert bob._swarm.counts.open_connections == 0
            assert not bob._swarm.incoming.per_ip
            assert bob._swarm.incoming.upgrading == 0
            assert not alice._dials._dialing


async def test_upstream_still_stops_after_its_first_connections() -> None:
    with trio.fail_after(60):
        served = int(await ask_stock("lifetime"))
    assert served < 4, "upstream ends inbound handlers now: drop CoveySwarm._handle_inbound_connection"


@pytest.mark.parametrize("listen", [TCP, WS])
async def test_leaving_the_block_leaves_nothing_open(public: Network, listen: str) -> None:
    with trio.fail_after(60):
        async with host_on(public) as warm, host_on(public, listen) as other:
            await warm.connect(other.peer_id, other.addrs)
        gc.collect()
        before, open_files = tasks(), descriptors()
        async with host_on(public) as alice:
            async with host_on(public, listen) as bob:
                bob.handle("/test/endless/1", _endless)
                await alice.connect(bob.peer_id, bob.addrs)
                stream = await alice.open_stream(bob.peer_id, "/test/endless/1")
                await stream.write(b"x")
                began = trio.current_time()
            assert trio.current_time() - began < 6
            await until_gone(alice)
        assert await settled(before) <= before
        gc.collect()
        assert descriptors() <= open_files


async def test_a_cancelled_block_leaves_nothing_open(public: Network) -> None:
    with trio.fail_after(60):
        async with host_on(public, TCP, WS) as alice:
            before, open_files = tasks(), descriptors()
            for listen in (TCP, WS):
                with trio.CancelScope() as scope:
                    async with host_on(public, listen) as bob:
                        bob.handle("/test/endless/1", _endless)
                        await alice.connect(bob.peer_id, bob.addrs)
                        stream = await alice.open_stream(bob.peer_id, "/test/endless/1")
                        await stream.write(b"x")
                        await bob.connect(alice.peer_id, alice.addrs)
                        scope.cancel()
                        await trio.sleep_forever()
                await until_gone(alice)
            assert await settled(before) <= before
            gc.collect()
            assert descriptors() <= open_files


async def _endless(stream: Stream) -> None:
    await stream.read_some()
    await trio.sleep_forever()


async def test_a_host_that_is_cancelled_while_it_opens_leaves_nothing_and_raises_nothing(public: Network) -> None:
    before = tasks()
    for steps in range(8):
        async with trio.open_nursery() as nursery:

            async def opens() -> None:
                async with host_on(public):
                    await trio.sleep_forever()

            nursery.start_soon(opens)
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    assert await settled(before) == before


async def test_streams_end_with_their_connection_even_when_the_handler_does_not_listen(public: Network) -> None:
    ended = trio.Event()

    async def deaf(stream: Stream) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    with trio.fail_after(20):
        async with host_on(public) as bob, host_on(public) as alice:
            bob.handle("/test/deaf/1", deaf)
            await alice.connect(bob.peer_id, bob.addrs)
            await alice.open_stream(bob.peer_id, "/test/deaf/1")
            await alice.disconnect(bob.peer_id)
            await ended.wait()


async def test_an_abruptly_closed_websocket_leaks_no_descriptor(public: Network) -> None:
    with trio.fail_after(60):
        async with host_on(public, WS) as bob, host_on(public) as alice:
            await alice.connect(bob.peer_id, bob.addrs)
            await cut(alice)
            await until_gone(bob)
            before = descriptors()
            for _ in range(20):
                await alice.connect(bob.peer_id, bob.addrs)
                await cut(alice)
                await until_gone(bob)
                await until_gone(alice)
            assert descriptors() <= before


async def test_a_websocket_whose_peer_does_not_say_goodbye_is_closed_within_a_second(autojump_clock: Any) -> None:
    class Silent:
        async def aclose(self) -> None:
            await trio.sleep_forever()

    below, _other = trio.testing.memory_stream_pair()
    silent: Any = Silent()
    bytes_ = WebSocketBytes(silent, below)
    await bytes_.close()
    assert trio.current_time() <= limits.CLOSE_SECONDS + 0.01
    with pytest.raises(trio.ClosedResourceError):
        await below.send_all(b"x")


async def cut(host: Host) -> None:
    """Close the socket below everything, as a crash would."""
    for connection in host._swarm.all_connections():
        closer: Any = connection.muxed_conn.secured_conn.conn.read_writer.read_write_closer.stream  # type: ignore[attr-defined]
        await trio.aclose_forcefully(closer._below if hasattr(closer, "_below") else closer.stream)
