"""The data path over streams in memory, on a clock that jumps."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import trio

from covey_core.errors import StreamLost
from covey_core.peers import PeerId
from covey_relay.circuits import Circuit, CircuitEnd, Meter
from covey_relay.limits import READ_BYTES
from covey_relay.net.junction import Junction
from tests.relay.memory import MemoryStream, stream_pair


@dataclass
class Standing:
    """A circuit that is being carried: what source and target hold, and how it ended."""

    source: MemoryStream
    target: MemoryStream
    relay_ends: tuple[MemoryStream, MemoryStream]
    junction: Junction
    circuit: Circuit
    carried: list[int] = field(default_factory=list)
    end: CircuitEnd | None = None
    ended: trio.Event = field(default_factory=trio.Event)

    async def run(self) -> None:
        self.end = await self.junction.run()
        self.ended.set()


@asynccontextmanager
async def standing(*, allowance: int = 0, seconds: float | None = None, window: int = 1000) -> AsyncIterator[Standing]:
    source, source_at_relay = stream_pair(window)
    target, target_at_relay = stream_pair(window)
    circuit = Circuit(PeerId("a"), PeerId("b"), onward=Meter(allowance), back=Meter(allowance), origins=frozenset())
    if seconds is not None:
        circuit.expires_at = trio.current_time() + seconds
    carried: list[int] = []
    junction = Junction(circuit, source=source_at_relay, target=target_at_relay, carried=carried.append)
    found = Standing(source, target, (source_at_relay, target_at_relay), junction, circuit, carried)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(found.run)
        yield found
        with trio.fail_after(10_000):
            await found.ended.wait()


async def test_bytes_go_both_ways_and_the_end_is_clean(autojump_clock: trio.testing.MockClock) -> None:
    there, back = bytes(range(256)) * 1000, b"answer" * 50_000
    received: dict[str, bytes] = {}

    async def speak(stream: MemoryStream, data: bytes) -> None:
        await stream.write(data)
        await stream.close_write()

    async def hear(name: str, stream: MemoryStream) -> None:
        received[name] = await stream.read_all()

    async with standing() as circuit, trio.open_nursery() as nursery:
        nursery.start_soon(speak, circuit.source, there)
        nursery.start_soon(speak, circuit.target, back)
        nursery.start_soon(hear, "target", circuit.target)
        nursery.start_soon(hear, "source", circuit.source)
    assert received == {"target": there, "source": back}
    assert circuit.end is CircuitEnd.EOF
    assert sum(circuit.carried) == len(there) + len(back)
    assert circuit.circuit.onward.carried == len(there)
    assert circuit.circuit.back.carried == len(back)
    assert all(end.closed and not end.was_reset for end in circuit.relay_ends)


async def test_a_half_close_leaves_the_other_direction_open(autojump_clock: trio.testing.MockClock) -> None:
    async with standing() as circuit:
        await circuit.source.write(b"question")
        await circuit.source.close_write()
        assert await circuit.target.read_all() == b"question"
        await trio.sleep(600)
        await circuit.target.write(b"answer, later")
        await circuit.target.close_write()
        assert await circuit.source.read_all() == b"answer, later"
    assert circuit.end is CircuitEnd.EOF


@pytest.mark.parametrize("who", ["source", "target"])
async def test_a_reset_reaches_the_other_end_as_a_reset(who: str, autojump_clock: trio.testing.MockClock) -> None:
    async with standing() as circuit:
        resetting, other = (circuit.source, circuit.target) if who == "source" else (circuit.target, circuit.source)
        await resetting.reset()
        with pytest.raises(StreamLost):
            await other.read_some()
    assert circuit.end is CircuitEnd.ERROR


@pytest.mark.parametrize("who", ["source", "target"])
async def test_a_reset_after_a_half_close_is_still_a_reset(who: str, autojump_clock: trio.testing.MockClock) -> None:
    async with standing() as circuit:
        resetting, other = (circuit.source, circuit.target) if who == "source" else (circuit.target, circuit.source)
        await other.close_write()
        assert await resetting.read_all() == b""
        await resetting.reset()
        with pytest.raises(StreamLost):
            await other.read_some()
    assert circuit.end is CircuitEnd.ERROR
    assert all(end.was_reset for end in circuit.relay_ends)


async def test_an_idle_circuit_ends_with_its_duration(autojump_clock: trio.testing.MockClock) -> None:
    started = trio.current_time()
    async with standing(seconds=7200) as circuit:
        with pytest.raises(StreamLost):
            await circuit.source.read_some()
        assert trio.current_time() - started == pytest.approx(7200)
        with pytest.raises(StreamLost):
            await circuit.target.read_some()
    assert circuit.end is CircuitEnd.DURATION


async def test_a_busy_circuit_ends_with_its_duration(autojump_clock: trio.testing.MockClock) -> None:
    async def chatter(stream: MemoryStream) -> None:
        while True:
            await trio.sleep(1)
            await stream.write(b"x")

    async def listen(stream: MemoryStream) -> None:
        while True:
            await stream.read_some()

    async with standing(seconds=30) as circuit:
        with pytest.RaisesGroup(StreamLost):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(chatter, circuit.source)
                nursery.start_soon(listen, circuit.target)
    assert circuit.end is CircuitEnd.DURATION
    assert 28 <= sum(circuit.carried) <= 30


@pytest.mark.parametrize("who", ["source", "target"])
async def test_each_direction_has_its_own_allowance(who: str, autojump_clock: trio.testing.MockClock) -> None:
    async with standing(allowance=500) as circuit:
        talker, other = (circuit.source, circuit.target) if who == "source" else (circuit.target, circuit.source)
        await other.write(b"y" * 500)
        await talker.write(b"x" * 500)
        assert len(await other.read_some()) == 500
        assert len(await talker.read_some()) == 500
        await talker.write(b"z")
        with pytest.raises(StreamLost):
            await other.read_some()
    assert circuit.end is CircuitEnd.BYTES
    assert sum(circuit.carried) == 1000


async def test_exactly_the_allowance_ends_cleanly(autojump_clock: trio.testing.MockClock) -> None:
    async with standing(allowance=500) as circuit:
        await circuit.source.write(b"x" * 500)
        await circuit.source.close_write()
        await circuit.target.close_write()
        assert len(await circuit.target.read_all()) == 500
    assert circuit.end is CircuitEnd.EOF


async def test_a_reader_that_stops_holds_its_writer_back(autojump_clock: trio.testing.MockClock) -> None:
    window = 1000
    async with standing(window=window) as circuit:
        with trio.move_on_after(3600) as held_back:
            await circuit.source.write(b"x" * 10_000_000)
        assert held_back.cancelled_caught
        assert len(circuit.carried) * window <= 2 * window + READ_BYTES
        circuit.junction.stop(CircuitEnd.DRAIN)
    assert circuit.end is CircuitEnd.DRAIN
    assert all(end.was_reset for end in circuit.relay_ends)


async def test_the_first_reason_to_stop_is_the_one_told(autojump_clock: trio.testing.MockClock) -> None:
    async with standing() as circuit:
        circuit.junction.stop(CircuitEnd.DRAIN)
        circuit.junction.stop(CircuitEnd.ERROR)
    assert circuit.end is CircuitEnd.DRAIN
