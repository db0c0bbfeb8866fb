"""The work-arounds in Yamux, each against what upstream does."""

import struct
from typing import Any

import pytest
import trio
import trio.testing
from libp2p.stream_muxer.exceptions import MuxedStreamError
from libp2p.stream_muxer.yamux import yamux as upstream
from trio.testing import wait_all_tasks_blocked

from covey_core.host import limits
from covey_core.host.yamux_stream import BoundedBuffer, HardenedStream, WindowExceeded
from tests.host.memory import PEER, MemorySession, yamux_pair


def deafen(peer: Any) -> None:
    """Have a peer take everything and answer nothing, as a stopped process does while the socket buffers last."""

    async def swallow(data: bytes) -> None:
        await trio.lowlevel.checkpoint()

    peer._write_frame = swallow


async def test_a_peer_that_stops_answering_is_closed_in_time(autojump_clock: Any) -> None:
    async with yamux_pair(interval=15, timeout=10) as (alice, bob):
        deafen(bob)
        began = trio.current_time()
        with trio.fail_after(26):
            await alice.event_closed.wait()
        assert trio.current_time() - began <= 25.01


async def test_a_peer_that_answers_stays(autojump_clock: Any) -> None:
    async with yamux_pair(interval=15, timeout=10) as (alice, bob):
        await trio.sleep(600)
        assert not alice.event_closed.is_set()
        assert not bob.event_closed.is_set()
        assert alice.rtt() >= 0


async def test_doubt_probes_at_once(autojump_clock: Any) -> None:
    async with yamux_pair(interval=1_000, timeout=10) as (alice, bob):
        deafen(bob)
        began = trio.current_time()
        alice.doubt()
        with trio.fail_after(11):
            await alice.event_closed.wait()
        assert trio.current_time() - began <= 10.01


async def test_upstream_still_ignores_a_missing_answer(autojump_clock: Any) -> None:
    left, _right = trio.testing.memory_stream_pair()
    stock = upstream.Yamux(MemorySession(left, is_initiator=True), PEER)  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stock.start)
        await trio.sleep(300)
        assert not stock.event_closed.is_set(), "upstream closes dead connections now: drop HardenedYamux's probe"
        nursery.cancel_scope.cancel()


async def test_a_cancelled_write_does_not_tear_the_connection(autojump_clock: Any) -> None:
    async with yamux_pair() as (alice, bob):
        stream = await alice.open_stream()
        other = await bob.accept_stream()
        gate = alice.secured_conn.stall = trio.Event()  # type: ignore[attr-defined]
        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as scope:
                nursery.start_soon(_release, scope, gate)
                await stream.write(b"x" * 1_000)
        alice.secured_conn.stall = None  # type: ignore[attr-defined]
        second = await alice.open_stream()
        await second.write(b"whole")
        third = await bob.accept_stream()
        assert await third.read(5) == b"whole"
        assert await other.read(2_000) == b"x" * 1_000
        assert not bob.event_closed.is_set()


async def _release(scope: trio.CancelScope, gate: trio.Event) -> None:
    await wait_all_tasks_blocked()
    scope.cancel()
    await wait_all_tasks_blocked()
    gate.set()


async def test_a_write_that_the_socket_never_takes_ends_the_connection(autojump_clock: Any) -> None:
    async with yamux_pair(interval=1_000) as (alice, _bob):
        stream = await alice.open_stream()
        alice.secured_conn.stall = trio.Event()  # type: ignore[attr-defined]
        began = trio.current_time()
        await stream.write(b"x")
        assert alice.event_closed.is_set()
        assert trio.current_time() - began == pytest.approx(limits.WRITE_STALL_SECONDS)


async def test_closing_does_not_wait_for_a_stuck_writer(autojump_clock: Any) -> None:
    async with yamux_pair(interval=1_000) as (alice, _bob), trio.open_nursery() as nursery:
        stream = await alice.open_stream()
        alice.secured_conn.stall = trio.Event()  # type: ignore[attr-defined]
        nursery.start_soon(stream.write, b"x")
        await wait_all_tasks_blocked()
        began = trio.current_time()
        await alice.close()
        assert trio.current_time() - began <= limits.CLOSE_SECONDS + 0.01
        nursery.cancel_scope.cancel()


async def test_a_writer_waits_as_long_as_the_reader_makes_it_wait(autojump_clock: Any) -> None:
    async with yamux_pair() as (alice, bob), trio.open_nursery() as nursery:
        stream = await alice.open_stream()
        other = await bob.accept_stream()
        data = bytes(range(256)) * 4_000
        nursery.start_soon(stream.write, data)
        await trio.sleep(120)
        got = b""
        while len(got) < len(data):
            got += await other.read(65_536)
        assert got == data


async def test_upstream_still_gives_a_paused_receiver_up_after_five_seconds(autojump_clock: Any) -> None:
    async with yamux_pair() as (alice, _bob):
        stock = upstream.YamuxStream(99, alice, is_initiator=True)
        stock.send_window = 0
        with pytest.raises(MuxedStreamError, match="5 seconds"):
            await stock.write(b"x")


async def test_a_waiting_writer_learns_that_the_connection_ended(autojump_clock: Any) -> None:
    async with yamux_pair() as (alice, bob), trio.open_nursery() as nursery:
        stream = await alice.open_stream()
        await bob.accept_stream()

        async def write() -> None:
            with pytest.raises(MuxedStreamError):
                await stream.write(b"x" * 1_000_000)

        nursery.start_soon(write)
        await wait_all_tasks_blocked()
        await bob.close()


async def test_a_peer_that_sends_past_its_window_is_cut_off(autojump_clock: Any) -> None:
    async with yamux_pair() as (alice, bob):
        stream = await alice.open_stream()
        await bob.accept_stream()
        chunk = b"x" * 60_000
        header = struct.pack("!BBHII", 0, upstream.TYPE_DATA, 0, stream.stream_id, len(chunk))
        with trio.move_on_after(60):
            for _ in range(limits.STREAM_BUFFER_BYTES // len(chunk) + 2):
                await alice.secured_conn.write(header + chunk)
        await bob.event_closed.wait()


def test_upstream_buffers_have_no_bound_of_their_own() -> None:
    assert upstream.MAX_WINDOW_SIZE > limits.STREAM_WINDOW_BYTES
    buffer = BoundedBuffer()
    buffer.extend(b"x" * limits.STREAM_BUFFER_BYTES)
    with pytest.raises(WindowExceeded):
        buffer.extend(b"x")


async def test_a_window_grows_to_its_bound_and_never_past_it(autojump_clock: Any) -> None:
    async with yamux_pair() as (alice, bob), trio.open_nursery() as nursery:
        await trio.sleep(1)
        stream = await alice.open_stream()
        other = await bob.accept_stream()
        nursery.start_soon(stream.write, b"x" * 20_000_000)
        got = 0
        while got < 20_000_000:
            got += len(await other.read(65_536))
        assert isinstance(other, HardenedStream)
        assert other.target_recv_window == limits.STREAM_WINDOW_BYTES
        assert other.recv_window <= limits.STREAM_WINDOW_BYTES + 65_536
        assert not bob.event_closed.is_set()


async def test_small_reads_cost_no_window_updates(autojump_clock: Any) -> None:
    async with yamux_pair(interval=10_000) as (alice, bob):
        stream = await alice.open_stream()
        other = await bob.accept_stream()
        before = bob.secured_conn.written  # type: ignore[attr-defined]
        for _ in range(100):
            await stream.write(b"x" * 300)
            await other.read(300)
        assert bob.secured_conn.written == before  # type: ignore[attr-defined]


async def test_a_stream_that_nobody_reads_any_more_is_reset_after_a_while(autojump_clock: Any) -> None:
    async with yamux_pair() as (alice, bob):
        stream = await alice.open_stream()
        other = await bob.accept_stream()
        await stream.write(b"unread")
        await other.close()
        other.abandon()  # type: ignore[attr-defined]
        await trio.sleep(2 * limits.LINGER_SECONDS + 1)
        assert not bob.streams
        assert not alice.streams


async def test_what_comes_on_an_abandoned_stream_takes_no_memory(autojump_clock: Any) -> None:
    async with yamux_pair() as (alice, bob):
        stream = await alice.open_stream()
        other = await bob.accept_stream()
        await stream.write(b"x" * 100_000)
        await wait_all_tasks_blocked()
        other.abandon()  # type: ignore[attr-defined]
        await stream.write(b"x" * 100_000)
        await wait_all_tasks_blocked()
        assert not bob.stream_buffers[other.stream_id]  # type: ignore[attr-defined]


@pytest.mark.parametrize("ours", [True, False])
async def test_a_reset_stream_leaves_nothing_behind(autojump_clock: Any, ours: bool) -> None:
    async with yamux_pair() as (alice, bob):
        stream = await alice.open_stream()
        other = await bob.accept_stream()
        await stream.write(b"x" * 100_000)
        await wait_all_tasks_blocked()
        await (other if ours else stream).reset()  # type: ignore[attr-defined]
        await wait_all_tasks_blocked()
        assert not bob.streams
        assert not bob.stream_buffers
        assert not bob.stream_events


async def test_a_frame_over_every_window_is_refused_before_it_is_read(autojump_clock: Any) -> None:
    async with yamux_pair() as (alice, bob):
        stream = await alice.open_stream()
        await bob.accept_stream()
        size = upstream.MAX_WINDOW_SIZE
        header = struct.pack("!BBHII", 0, upstream.TYPE_DATA, 0, stream.stream_id, size)
        await alice.secured_conn.write(header)
        with trio.fail_after(1):
            await bob.event_closed.wait()
