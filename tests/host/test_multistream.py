"""multistream-select: any bytes, bounded."""

from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import memory_stream_pair

from covey_core.errors import ProtocolViolation
from covey_core.host import limits, multistream


class Pipe:
    def __init__(self, stream: Any) -> None:
        self.stream = stream

    async def read(self, n: int | None = None, /) -> bytes:
        return bytes(await self.stream.receive_some(n))

    async def write(self, data: bytes, /) -> None:
        await self.stream.send_all(data)


class Script:
    """A peer that says these bytes and then ends."""

    def __init__(self, said: bytes) -> None:
        self.said = said
        self.heard = b""

    async def read(self, n: int | None = None, /) -> bytes:
        data, self.said = self.said[:n], self.said[n or len(self.said) :]
        return data

    async def write(self, data: bytes, /) -> None:
        self.heard += data


def message(text: str) -> bytes:
    line = text.encode() + b"\n"
    return bytes([len(line)]) + line


HELLO = message("/multistream/1.0.0")


async def test_two_sides_agree(autojump_clock: Any) -> None:
    left, right = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(multistream.propose, Pipe(left), "/b/1")
        assert await multistream.answer(Pipe(right), ("/a/1", "/b/1")) == "/b/1"


async def test_early_words_leave_with_the_proposal_and_are_there_when_it_is_agreed(autojump_clock: Any) -> None:
    left, right = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: multistream.propose(Pipe(left), "/b/1", early=b"first"))
        assert await multistream.answer(Pipe(right), ("/b/1",)) == "/b/1"
        assert await Pipe(right).read(5) == b"first"


async def test_early_words_do_not_wait_for_an_answer() -> None:
    peer = Script(b"")
    with pytest.raises(ProtocolViolation):
        await multistream.propose(peer, "/b/1", early=b"first")
    assert peer.heard == HELLO + message("/b/1") + b"first"


async def test_a_refused_proposal_is_not_spoken(autojump_clock: Any) -> None:
    with pytest.raises(multistream.NotSpoken):
        await multistream.propose(Script(HELLO + message("na")), "/b/1")


async def test_an_answer_to_another_protocol_is_a_violation() -> None:
    with pytest.raises(ProtocolViolation):
        await multistream.propose(Script(HELLO + message("/c/1")), "/b/1")


async def test_a_dialer_gets_a_bounded_number_of_tries() -> None:
    peer = Script(HELLO + message("/x") * (limits.STREAM_PROTOCOL_TRIES + 5))
    with pytest.raises(ProtocolViolation, match="proposals"):
        await multistream.answer(peer, ("/a/1",))
    assert peer.heard.count(b"na\n") == limits.STREAM_PROTOCOL_TRIES


async def test_an_announced_length_over_the_bound_is_refused_before_it_is_read() -> None:
    peer = Script(HELLO + b"\x81\x08" + b"x" * 2_000)
    with pytest.raises(ProtocolViolation):
        await multistream.answer(peer, ("/a/1",))
    assert len(peer.said) == 2_000


async def test_upstream_still_reads_messages_of_any_announced_length() -> None:
    from libp2p.utils import read_delim  # noqa: PLC0415

    size = 4_000_000
    header = bytearray()
    value = size
    while value > 0x7F:
        header.append(value & 0x7F | 0x80)
        value >>= 7
    header.append(value)
    peer = Script(bytes(header) + b"x" * (size - 1) + b"\n")
    assert len(await read_delim(peer)) == size - 1, "upstream bounds its messages now: drop multistream.py"  # type: ignore[arg-type]


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_answered_or_violate(data: bytes, greeted: bool) -> None:
    async def run() -> None:
        said = HELLO + data if greeted else data
        for attempt in (multistream.answer(Script(said), ("/a/1",)), multistream.propose(Script(said), "/a/1")):
            try:
                await attempt
            except (ProtocolViolation, multistream.NotSpoken):
                continue

    trio.run(run)


async def test_a_protocol_that_is_spoken_at_once_is_agreed_on_before_its_first_byte_is_read() -> None:
    peer = Script(HELLO + message("/b/1") + b"said")
    proposing = multistream.Proposing(peer, "/b/1")
    await proposing.propose()
    await proposing.write(b"first")
    assert peer.heard == HELLO + message("/b/1") + b"first"
    assert [await proposing.read(2), await proposing.read(2)] == [b"sa", b"id"]


@pytest.mark.parametrize("answer", [HELLO + message("na"), HELLO + message("/c/1"), message("/b/1"), b""])
async def test_a_protocol_that_is_spoken_at_once_and_refused_gives_nothing_to_read(answer: bytes) -> None:
    proposing = multistream.Proposing(Script(answer + b"said"), "/b/1")
    await proposing.propose()
    with pytest.raises((multistream.NotSpoken, ProtocolViolation)):
        await proposing.read(4)
