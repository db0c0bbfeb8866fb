"""What our driver adds to aioquic, without sockets: windows, waiting writers, liveness, resets, what is kept."""

from typing import Any

import pytest
import trio
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.stream import QuicStreamSender
from libp2p.stream_muxer.exceptions import MuxedConnUnavailable, MuxedStreamEOF, MuxedStreamError, MuxedStreamReset

from covey_core.host import limits
from tests.host.quic_memory import engine_of, quic_pair


async def opened(client: Any, server: Any) -> tuple[Any, Any]:
    """A stream, seen from both sides."""
    ours = await client.open_stream()
    await ours.write(b"!")
    theirs = await server.accept_stream()
    assert await theirs.read(1) == b"!"
    return ours, theirs


async def test_bytes_arrive_in_both_directions_and_each_side_ends_alone(autojump_clock: Any) -> None:
    async with quic_pair() as (client, server, _up, _down):
        ours, theirs = await opened(client, server)
        await ours.write(b"a" * 100_000)
        await ours.close()
        got = b""
        while len(got) < 100_000:
            got += await theirs.read(65_536)
        assert got == b"a" * 100_000
        with pytest.raises(MuxedStreamEOF):
            await theirs.read(1)
        await theirs.write(b"answer")
        await theirs.close()
        assert await ours.read(100) == b"answer"
        with pytest.raises(MuxedStreamEOF):
            await ours.read(1)
        with pytest.raises(MuxedStreamError):
            await ours.write(b"more")
        await trio.sleep(1)
        for side in (client, server):
            assert side.streams == {}
            assert not engine_of(side)._streams
        assert client.stream_backlog_semaphore.value == limits.OUTBOUND_STREAMS_PER_CONNECTION


async def test_a_writer_waits_for_the_reader_and_neither_side_keeps_more_than_its_window(autojump_clock: Any) -> None:
    async with quic_pair() as (client, server, _up, _down), trio.open_nursery() as nursery:
        ours, theirs = await opened(client, server)
        data = bytes(range(256)) * 40_000  # 10 MB
        nursery.start_soon(ours.write, data)
        await trio.sleep(120)
        kept = len(theirs._buffer)
        assert kept <= limits.QUIC_FIRST_STREAM_WINDOW_BYTES
        assert client.unsent(ours.stream_id) <= limits.QUIC_SEND_BUFFER_BYTES
        for _ in range(30):  # a reader that stops again and again
            assert len(await theirs.read(65_536)) == 65_536
            await trio.sleep(5)
            assert len(theirs._buffer) <= limits.STREAM_WINDOW_BYTES
        got = bytearray()
        while len(got) < len(data) - 30 * 65_536:
            got += await theirs.read(65_536)
            assert len(theirs._buffer) <= limits.STREAM_WINDOW_BYTES
        assert got == data[30 * 65_536 :]


async def test_all_streams_together_hold_no_more_than_the_connections_window(autojump_clock: Any) -> None:
    async with quic_pair() as (client, server, _up, _down), trio.open_nursery() as nursery:
        for ours, _theirs in [await opened(client, server) for _ in range(40)]:
            nursery.start_soon(ours.write, b"x" * 200_000)
        await trio.sleep(60)
        unread = sum(len(stream._buffer) for stream in server.streams.values())
        assert 0 < unread <= limits.QUIC_FIRST_CONNECTION_WINDOW_BYTES
        nursery.cancel_scope.cancel()


async def test_upstream_still_opens_windows_for_bytes_that_nobody_read() -> None:
    stock = QuicConnection(configuration=QuicConfiguration(is_client=True, max_data=1_000))
    stock._local_max_data.used = 900

    class Builder:
        quic_logger_frames: list[Any] = []  # noqa: RUF012

        def start_frame(self, *_: Any, **__: Any) -> Any:
            return self

        def push_uint_var(self, _: int) -> None: ...

    stock._write_connection_limits(Builder(), None)  # type: ignore[arg-type]
    assert stock._local_max_data.value > 1_000, "upstream waits for readers now: drop Engine's windows"


def test_upstream_still_keeps_any_number_of_unsent_bytes() -> None:
    sender = QuicStreamSender(stream_id=0, writable=True)
    for _ in range(64):
        sender.write(bytes(1_048_576))
    assert sender._buffer_stop == 64 * 1_048_576, "upstream bounds its send buffer now: drop QUIC_SEND_BUFFER_BYTES"


def test_an_end_that_does_not_fit_into_a_packet_is_not_lost() -> None:
    """aioquic before 1.7.2 forgot it; libp2p still carries a patch for that, which this replaces."""
    sender = QuicStreamSender(stream_id=0, writable=True)
    sender.write(b"", end_stream=True)
    assert sender.get_frame(-1) is None
    frame = sender.get_frame(0)
    assert frame is not None
    assert frame.fin


async def test_windows_do_not_shrink_with_streams_that_were_reset(autojump_clock: Any) -> None:
    """What was on its way to a reset stream counts as read, or the connection would come to a stop."""
    async with quic_pair() as (client, server, up, _down), trio.open_nursery() as nursery:
        counted = iter(range(1_000_000))
        up.loses = lambda _datagram: next(counted) % 5 == 0
        for number in range(60):
            ours, theirs = await opened(client, server)

            async def flood(stream: Any = ours) -> None:
                with pytest.raises((MuxedStreamError, MuxedStreamReset)):
                    await stream.write(b"x" * 100_000_000)

            nursery.start_soon(flood)
            await trio.sleep(0.1)
            await (ours if number % 2 else theirs).reset()
            await trio.sleep(3)
        await trio.sleep(30)
        engine = engine_of(server)
        assert engine._local_max_data.used - engine._consumed == 0
        assert server.streams == {}
        ours, theirs = await opened(client, server)
        nursery.start_soon(ours.write, b"y" * 3_000_000)
        left = 3_000_000
        while left:
            left -= len(await theirs.read(65_536))


async def test_a_reset_reaches_readers_and_writers_of_both_sides(autojump_clock: Any) -> None:
    async with quic_pair() as (client, server, _up, _down):
        ours, theirs = await opened(client, server)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_expect_reset, theirs.read, 1)
            nursery.start_soon(_expect_reset, ours.read, 1)
            await trio.sleep(1)
            await ours.reset()
        with pytest.raises((MuxedStreamError, MuxedStreamReset)):
            await theirs.write(b"x")
        with pytest.raises((MuxedStreamError, MuxedStreamReset)):
            await ours.write(b"x")


async def _expect_reset(call: Any, *args: Any) -> None:
    with pytest.raises((MuxedStreamError, MuxedStreamReset)):
        await call(*args)


async def test_closing_the_connection_reaches_everybody(autojump_clock: Any) -> None:
    async with quic_pair() as (client, server, _up, _down):
        ours, theirs = await opened(client, server)
        stuck, _unread = await opened(client, server)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_expect_reset, theirs.read, 1)
            nursery.start_soon(_expect_reset, ours.read, 1)
            nursery.start_soon(_expect_reset, stuck.write, b"x" * 5_000_000)
            await trio.sleep(1)
            await client.close()
        assert server.event_closed.is_set()
        for side in (client, server):
            with pytest.raises(MuxedConnUnavailable):
                await side.accept_stream()
            with pytest.raises(MuxedConnUnavailable):
                await side.open_stream()


async def test_a_peer_that_stops_answering_is_closed_within_25_seconds(autojump_clock: Any) -> None:
    async with quic_pair() as (client, _server, _up, down):
        await trio.sleep(7)
        down.loses = lambda _datagram: True
        began = trio.current_time()
        with trio.fail_after(60):
            await client.event_closed.wait()
        assert trio.current_time() - began <= 25.1


async def test_doubt_probes_at_once(autojump_clock: Any) -> None:
    async with quic_pair(interval=1_000, timeout=10) as (client, _server, _up, down):
        down.loses = lambda _datagram: True
        began = trio.current_time()
        client.doubt()
        with trio.fail_after(60):
            await client.event_closed.wait()
        assert trio.current_time() - began <= 10.1


async def test_idle_connections_stay_and_say_something_every_15_seconds(autojump_clock: Any) -> None:
    async with quic_pair() as (client, server, up, _down):
        for _ in range(20):
            before = up.sent_bytes
            await trio.sleep(16)
            assert up.sent_bytes > before
        assert not client.event_closed.is_set()
        assert not server.event_closed.is_set()
        assert client.rtt() > 0


async def test_lost_datagrams_are_sent_again(autojump_clock: Any) -> None:
    async with quic_pair() as (client, server, up, down):
        counted = iter(range(1_000_000))
        up.loses = down.loses = lambda _datagram: next(counted) % 7 == 0
        async with trio.open_nursery() as nursery:
            ours, theirs = await opened(client, server)
            data = bytes(range(256)) * 2_000
            nursery.start_soon(ours.write, data)
            got = b""
            while len(got) < len(data):
                got += await theirs.read(65_536)
            assert got == data


async def test_a_stream_that_nobody_reads_is_reset_in_the_end(autojump_clock: Any) -> None:
    async with quic_pair() as (client, server, _up, _down):
        ours, theirs = await opened(client, server)
        theirs.abandon()
        await theirs.close()
        await ours.write(b"x" * 3_000_000)  # what nobody reads stops nobody
        await trio.sleep(2 * limits.LINGER_SECONDS + 1)
        with pytest.raises((MuxedStreamError, MuxedStreamReset)):
            await ours.write(b"x")
        assert server.streams == {}
        assert client.streams == {}


async def test_more_streams_than_the_peer_allows_are_refused_at_once(autojump_clock: Any) -> None:
    async with quic_pair() as (client, server, _up, _down):
        held = [await opened(client, server) for _ in range(limits.INBOUND_STREAMS_PER_CONNECTION)]
        with pytest.raises(MuxedConnUnavailable):
            await client.open_stream()
        for ours, theirs in held[:80]:
            await ours.close()
            await theirs.close()
        await trio.sleep(1)
        await opened(client, server)
        assert len(client.streams) == limits.INBOUND_STREAMS_PER_CONNECTION - 80 + 1


async def test_a_cancelled_reader_loses_nothing(autojump_clock: Any) -> None:
    async with quic_pair() as (client, server, _up, _down):
        ours, theirs = await opened(client, server)
        with trio.move_on_after(1):
            await theirs.read(10)
        await ours.write(b"late")
        assert await theirs.read(10) == b"late"


async def test_an_error_within_aioquic_ends_that_connection_only(
    autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with quic_pair() as (client, server, _up, _down):

        def fail(*_: Any) -> None:
            raise AssertionError("a bug in aioquic")

        monkeypatch.setattr(engine_of(server), "receive_datagram", fail)
        ours = await client.open_stream()
        await ours.write(b"x")
        await trio.sleep(1)
        assert server.event_closed.is_set()
        with pytest.raises(MuxedConnUnavailable):
            await server.accept_stream()
