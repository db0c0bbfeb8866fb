"""The AutoNAT v2 client: asks a server to dial one of our addresses, and believes only the nonce that comes back.

Owns: the questions under way and their nonces. Spec: libp2p specs, autonat/autonat-v2.md; docs/spec/autonat.md.
Never touches: which servers are asked, what many answers mean.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import trio

from covey_core.autonat import limits
from covey_core.autonat.origins import ip_in
from covey_core.errors import ProtocolViolation, StreamLost, Unreachable
from covey_core.host import Host, Stream
from covey_core.limits import AUTONAT_DIAL_BACK_BYTES, AUTONAT_MESSAGE_BYTES
from covey_core.peers import PeerId
from covey_core.wire.autonat import (
    DIAL_BACK_PROTOCOL,
    DIAL_REQUEST_PROTOCOL,
    DialData,
    DialDataRequest,
    DialRequest,
    DialResponse,
    DialStatus,
    Message,
    ResponseStatus,
    decode_dial_back,
    decode_message,
    encode_dial_back_response,
    encode_message,
)
from covey_core.wire.direct_addr import DirectAddr

_NONCE_BITS: Final = 64


class Verdict(StrEnum):
    """What a server's answer is worth; METRICS' `outcome` of libp2p_autonatv2_client_requests_total."""

    REACHABLE = "reachable"
    """The nonce came back over a connection from outside."""
    UNREACHABLE = "unreachable"
    """The server could not connect."""
    REFUSED = "refused"
    """The server does not dial such an address."""
    REJECTED = "rejected"
    """The server has no time for us now."""
    FAILED = "failed"
    """No answer, or one that does not hold together."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One server on one address; `reason` says in words why, for `covey doctor`."""

    verdict: Verdict
    reason: str = ""


@dataclass(slots=True)
class _Question:
    """A question under way: what was asked about, and whether the nonce came from outside."""

    target: DirectAddr
    came: trio.Event = field(default_factory=trio.Event)


class AutonatClient:
    """Asks on behalf of one host, whose dial-back streams it serves as long as the host lives."""

    def __init__(self, host: Host, *, nonce: Callable[[], int] = lambda: secrets.randbits(_NONCE_BITS)) -> None:
        self._host = host
        self._nonce = nonce
        self._questions: dict[int, _Question] = {}
        host.handle(DIAL_BACK_PROTOCOL, self._serve_dial_back)

    async def ask(self, server: PeerId, target: DirectAddr) -> Answer:
        """Ask a connected server about one address of ours; takes 20 s at most and never raises for what it does."""
        if len(self._questions) >= limits.OUTSTANDING:
            return Answer(Verdict.FAILED, "too many questions at once")
        nonce, question = self._nonce(), _Question(target)
        self._questions[nonce] = question
        try:
            with trio.fail_after(limits.ASK_SECONDS):
                stream = await self._host.open_stream(server, DIAL_REQUEST_PROTOCOL)
                try:
                    answer = await self._converse(stream, nonce, question)
                except BaseException:
                    await stream.reset()
                    raise
                await stream.close()
                return answer
        except trio.TooSlowError:
            return Answer(Verdict.FAILED, "the server did not answer in time")
        except (StreamLost, Unreachable, ProtocolViolation) as exc:
            return Answer(Verdict.FAILED, str(exc))
        finally:
            del self._questions[nonce]

    async def _converse(self, stream: Stream, nonce: int, question: _Question) -> Answer:
        await _write(stream, DialRequest((question.target.encode(),), nonce))
        message = await _read(stream)
        if isinstance(message, DialDataRequest):
            if message.index != 0 or message.num_bytes > limits.DATA_BYTES_MAX:
                raise ProtocolViolation(f"the server wants {message.num_bytes} bytes of dial data for no good reason")
            await _send_data(stream, message.num_bytes)
            message = await _read(stream)
        if not isinstance(message, DialResponse):
            raise ProtocolViolation("the server answered with another message")
        return await self._weigh(message, question)

    async def _weigh(self, response: DialResponse, question: _Question) -> Answer:
        if response.status is ResponseStatus.E_DIAL_REFUSED:
            return Answer(Verdict.REFUSED, "the server does not dial this kind of address")
        if response.status is ResponseStatus.E_REQUEST_REJECTED:
            return Answer(Verdict.REJECTED, "the server has served enough for now")
        if response.status is not ResponseStatus.OK or response.index != 0:
            raise ProtocolViolation("the server failed, or answered about another address")
        if response.dial_status is DialStatus.E_DIAL_ERROR:
            if question.came.is_set():
                raise ProtocolViolation("the server says that it could not connect, and did")
            return Answer(Verdict.UNREACHABLE, "the server could not connect")
        if response.dial_status is DialStatus.UNUSED:
            raise ProtocolViolation("the server does not say how its dial went")
        # The nonce is the proof, not the server's word: with it in hand even a failed farewell counts.
        with trio.move_on_after(limits.DIAL_BACK_SECONDS if response.dial_status is DialStatus.OK else 0):
            await question.came.wait()
        if question.came.is_set():
            return Answer(Verdict.REACHABLE)
        return Answer(Verdict.FAILED, "no dial-back came, whatever the server says")

    async def _serve_dial_back(self, stream: Stream) -> None:
        with trio.fail_after(limits.DIAL_BACK_SECONDS):
            frame = await stream.read_frame(limit=AUTONAT_DIAL_BACK_BYTES)
            if frame is None:
                raise ProtocolViolation("a dial-back without a nonce")
            question = self._questions.get(decode_dial_back(frame))
            if question is None or question.came.is_set():
                raise ProtocolViolation("a dial-back with a nonce that nobody waits for")
            if not self._came_in_on(stream, question.target):
                raise ProtocolViolation("a dial-back that did not come in on the address in question")
            question.came.set()
            await stream.write_frame(encode_dial_back_response(), limit=AUTONAT_DIAL_BACK_BYTES)

    def _came_in_on(self, stream: Stream, target: DirectAddr) -> bool:
        """Whether the stream's connection was opened from outside, over the transport and IP version in question.

        A NAT rewrites the address itself, so more cannot be compared; go-libp2p compares the same
        (areAddrsConsistent).
        """
        source = ip_in(stream.remote_addr)
        return not stream.relayed and any(
            connection.inbound
            and not connection.relayed
            and connection.remote_addr == stream.remote_addr
            and connection.transport == target.transport
            and source is not None
            and f"ip{source.version}" == target.ip_version
            for connection in self._host.connections(stream.peer)
        )


async def _send_data(stream: Stream, size: int) -> None:
    while size > 0:
        part = min(size, limits.DATA_CHUNK_BYTES)
        await _write(stream, DialData(bytes(part)))
        size -= part


async def _read(stream: Stream) -> Message:
    frame = await stream.read_frame(limit=AUTONAT_MESSAGE_BYTES)
    if frame is None:
        raise StreamLost("the server closed the stream without an answer")
    return decode_message(frame)


async def _write(stream: Stream, message: Message) -> None:
    await stream.write_frame(encode_message(message), limit=AUTONAT_MESSAGE_BYTES)
