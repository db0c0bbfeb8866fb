"""What handlers may do to their host: nothing."""

from typing import Any

import pytest
import trio
from libp2p.custom_types import TProtocol
from libp2p.network.stream.exceptions import StreamError
from libp2p.peer.id import ID
from prometheus_client import CollectorRegistry

from covey_core.errors import FrameTooLarge, ProtocolViolation, StreamLost
from covey_core.host import Host, Stream
from covey_core.metrics import CoreMetrics
from covey_core.network import Network
from tests.host.conftest import ask_stock, host_on

RAISES = "/test/raises/1"
ECHO = "/test/echo/1"


async def echo(stream: Stream) -> None:
    while data := await stream.read_some():
        await stream.write(data)


async def alive(alice: Host, bob: Host) -> bool:
    stream = await alice.open_stream(bob.peer_id, ECHO)
    await stream.write(b"?")
    return await stream.read_some() == b"?"


@pytest.mark.parametrize(
    "error",
    [RuntimeError("a bug"), ProtocolViolation("theirs"), StreamLost("gone"), ExceptionGroup("two", [OSError()])],
)
async def test_a_raising_handler_resets_its_stream_only(public: Network, error: Exception) -> None:
    async def raises(stream: Stream) -> None:
        await stream.read_some()
        raise error

    with trio.fail_after(20):
        async with host_on(public) as bob, host_on(public) as alice:
            bob.handle(RAISES, raises)
            bob.handle(ECHO, echo)
            await alice.connect(bob.peer_id, bob.addrs)
            kept = await alice.open_stream(bob.peer_id, ECHO)
            stream = await alice.open_stream(bob.peer_id, RAISES)
            await stream.write(b"x")
            with pytest.raises(StreamLost):
                await stream.read_some()
            await kept.write(b"still")
            assert await kept.read_some() == b"still"
            assert await alive(alice, bob)
            assert len(alice.connections()) == 1


@pytest.mark.parametrize(("error", "counted"), [(RuntimeError("a bug"), 1), (ProtocolViolation("theirs"), 0)])
async def test_an_error_of_a_handler_that_nobody_foresaw_is_counted(
    public: Network, error: Exception, counted: int
) -> None:
    async def raises(stream: Stream) -> None:
        raise error

    registry = CollectorRegistry()
    metrics = CoreMetrics(registry, role="node", version="1")
    with trio.fail_after(20):
        async with host_on(public, metrics=metrics) as bob, host_on(public) as alice:
            bob.handle(RAISES, raises)
            await alice.connect(bob.peer_id, bob.addrs)
            stream = await alice.open_stream(bob.peer_id, RAISES)
            with pytest.raises(StreamLost):
                await stream.read_some()
    assert registry.get_sample_value("covey_contained_errors_total", {"source": "handler"}) == counted


async def test_a_raising_handler_of_libp2ps_own_resets_its_stream_only(public: Network) -> None:
    async def raises(stream: Any) -> None:
        raise RuntimeError("a bug in upstream")

    with trio.fail_after(20):
        async with host_on(public) as bob, host_on(public) as alice:
            bob.handle(ECHO, echo)
            bob.libp2p.set_stream_handler(TProtocol(RAISES), raises)
            await alice.connect(bob.peer_id, bob.addrs)
            net = await alice.libp2p.new_stream(ID.from_base58(bob.peer_id), [TProtocol(RAISES)])
            with pytest.raises(StreamError):
                await net.read(1)
            assert await alive(alice, bob)


async def test_upstream_still_lets_a_raising_handler_end_its_host() -> None:
    with trio.fail_after(60):
        assert await ask_stock("handler") == "dead", "upstream contains handlers now: tell so in docs/adr/0002"


async def test_a_frame_over_the_limit_is_refused_before_it_is_read(public: Network) -> None:
    refused: list[int] = []
    done = trio.Event()

    async def strict(stream: Stream) -> None:
        try:
            await stream.read_frame(limit=1_000)
        except FrameTooLarge as exc:
            refused.append(exc.size)
            raise
        finally:
            done.set()

    with trio.fail_after(20):
        async with host_on(public) as bob, host_on(public) as alice:
            bob.handle(RAISES, strict)
            await alice.connect(bob.peer_id, bob.addrs)
            stream = await alice.open_stream(bob.peer_id, RAISES)
            await stream.write_frame(b"x" * 100_000, limit=200_000)
            await done.wait()
            assert refused == [100_000]
            with pytest.raises(FrameTooLarge):
                await stream.write_frame(b"x" * 11, limit=10)


async def test_an_end_within_a_frame_is_a_loss_and_between_frames_is_none(public: Network) -> None:
    seen: list[object] = []
    done = trio.Event()

    async def read(stream: Stream) -> None:
        try:
            while (frame := await stream.read_frame(limit=100)) is not None:
                seen.append(frame)
            seen.append(None)
        except StreamLost:
            seen.append("lost")
        done.set()

    with trio.fail_after(20):
        async with host_on(public) as bob, host_on(public) as alice:
            bob.handle(ECHO, read)
            await alice.connect(bob.peer_id, bob.addrs)
            for tail, end in ((b"", None), (b"\x05ab", "lost"), (b"\x85", "lost")):
                seen.clear()
                done = trio.Event()
                stream = await alice.open_stream(bob.peer_id, ECHO)
                await stream.write_frame(b"one", limit=100)
                await stream.write_frame(b"", limit=100)
                await stream.write(tail)
                await stream.close_write()
                await done.wait()
                assert seen == [b"one", b"", end]


async def test_bytes_behind_a_frame_come_out_of_read_some(public: Network) -> None:
    async def both(stream: Stream) -> None:
        frame = await stream.read_frame(limit=100)
        rest = b""
        while data := await stream.read_some(3):
            assert len(data) <= 3
            rest += data
        await stream.write((frame or b"") + b"|" + rest)

    with trio.fail_after(20):
        async with host_on(public) as bob, host_on(public) as alice:
            bob.handle(ECHO, both)
            await alice.connect(bob.peer_id, bob.addrs)
            stream = await alice.open_stream(bob.peer_id, ECHO)
            await stream.write(b"\x05hello and more")
            await stream.close_write()
            assert await stream.read_some() == b"hello| and more"


@pytest.mark.parametrize("waiting", [True, False])
async def test_a_reset_is_never_taken_for_an_end(public: Network, waiting: bool) -> None:
    async def reset(stream: Stream) -> None:
        await stream.read_some()
        await stream.reset()

    with trio.fail_after(20):
        async with host_on(public) as bob, host_on(public) as alice:
            bob.handle(ECHO, reset)
            await alice.connect(bob.peer_id, bob.addrs)
            stream = await alice.open_stream(bob.peer_id, ECHO)
            await stream.write(b"x")
            if not waiting:
                await alice.ping(bob.peer_id)
            with pytest.raises(StreamLost):
                await stream.read_some()
            with pytest.raises(StreamLost):
                await stream.write(b"x")


async def test_a_lost_connection_is_never_taken_for_an_end(public: Network) -> None:
    lost: list[str] = []

    async def read(stream: Stream) -> None:
        try:
            while await stream.read_some():
                pass
            lost.append("end")
        except StreamLost:
            lost.append("lost")
        ended.set()

    ended = trio.Event()
    with trio.fail_after(20):
        async with host_on(public) as bob, host_on(public) as alice:
            bob.handle(ECHO, read)
            await alice.connect(bob.peer_id, bob.addrs)
            stream = await alice.open_stream(bob.peer_id, ECHO)
            await stream.write(b"x")
            await alice.disconnect(bob.peer_id)
            with pytest.raises(StreamLost):
                await stream.read_some()
            await ended.wait()
            assert lost == ["lost"]


async def test_a_cancelled_write_resets_its_stream_and_nothing_else(public: Network) -> None:
    async def deaf(stream: Stream) -> None:
        await trio.sleep_forever()

    with trio.fail_after(20):
        async with host_on(public) as bob, host_on(public) as alice:
            bob.handle(RAISES, deaf)
            bob.handle(ECHO, echo)
            await alice.connect(bob.peer_id, bob.addrs)
            stream = await alice.open_stream(bob.peer_id, RAISES)
            with trio.move_on_after(0.05) as scope:
                await stream.write(b"x" * 4_000_000)
            assert scope.cancelled_caught
            with pytest.raises(StreamLost):
                await stream.write(b"x")
            assert await alive(alice, bob)


async def test_a_served_protocol_can_be_withdrawn(public: Network) -> None:
    with trio.fail_after(20):
        async with host_on(public) as bob, host_on(public) as alice:
            bob.handle(ECHO, echo)
            await alice.connect(bob.peer_id, bob.addrs)
            assert await alive(alice, bob)
            bob.unhandle(ECHO)
            with pytest.raises(StreamLost):
                await alice.open_stream(bob.peer_id, ECHO)


async def test_a_cancelled_read_loses_nothing(public: Network) -> None:
    async def slow(stream: Stream) -> None:
        for part in (b"\x0a", b"hel", b"lo wo", b"rl"):
            await stream.write(part)
            await stream.read_some(1)
        await stream.write(b"\x01!")

    with trio.fail_after(20):
        async with host_on(public) as bob, host_on(public) as alice:
            bob.handle(ECHO, slow)
            await alice.connect(bob.peer_id, bob.addrs)
            stream = await alice.open_stream(bob.peer_id, ECHO)
            frames: list[bytes | None] = []
            while len(frames) < 2:
                with trio.move_on_after(0.02):
                    frames.append(await stream.read_frame(limit=100))
                await stream.write(b"x")
            assert frames == [b"hello worl", b"!"]


async def test_many_frames_in_one_read_come_out_one_by_one(public: Network) -> None:
    async def burst(stream: Stream) -> None:
        await stream.write(b"".join(bytes([2]) + number.to_bytes(2) for number in range(5_000)))
        await stream.close_write()

    with trio.fail_after(20):
        async with host_on(public) as bob, host_on(public) as alice:
            bob.handle(ECHO, burst)
            await alice.connect(bob.peer_id, bob.addrs)
            stream = await alice.open_stream(bob.peer_id, ECHO)
            for number in range(5_000):
                assert await stream.read_frame(limit=2) == number.to_bytes(2)
            assert await stream.read_frame(limit=2) is None
