"""The question for a key bundle: whatever the answer, its stream ends."""

import pytest
import trio
from trio.testing import MockClock

from covey_core.errors import CoveyError, ProtocolViolation, StreamLost
from covey_core.identity import Identity
from covey_core.peers import PeerId
from covey_node.net.contact import fetch_bundle
from tests.support.people import empty_network

PEER = Identity.generate().peer_id


class _Stream:
    def __init__(self, answer: bytes | None) -> None:
        self._answer = answer
        self.ended = False

    async def write_frame(self, _payload: bytes, *, limit: int) -> None:
        await trio.lowlevel.checkpoint()

    async def close_write(self) -> None:
        await trio.lowlevel.checkpoint()

    async def read_frame(self, *, limit: int) -> bytes | None:
        await trio.lowlevel.checkpoint()
        return self._answer

    async def close(self) -> None:
        self.ended = True

    async def reset(self) -> None:
        self.ended = True


class _Host:
    def __init__(self, stream: _Stream) -> None:
        self.network = empty_network()
        self._stream = stream

    async def open_stream(self, _peer: PeerId, _protocol: str) -> _Stream:
        await trio.lowlevel.checkpoint()
        return self._stream


@pytest.mark.parametrize(("answer", "error"), [(None, StreamLost), (b"\xff", ProtocolViolation)])
async def test_the_stream_of_a_useless_answer_is_given_up(
    answer: bytes | None, error: type[CoveyError], autojump_clock: MockClock
) -> None:
    stream = _Stream(answer)
    with pytest.raises(error):
        await fetch_bundle(_Host(stream), PEER, bytes(32))  # type: ignore[arg-type]
    assert stream.ended
