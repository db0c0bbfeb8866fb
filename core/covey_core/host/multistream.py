"""multistream-select 1.0.0: how two peers agree on what a stream or connection speaks.

Owns: the negotiation, both sides, bounded in bytes, tries and (by its callers) time. py-libp2p's own reads messages of
any announced length. Spec: multiformats/multistream-select; docs/spec/host.md. Never touches: what is spoken then.
"""

from collections.abc import Container, Iterable
from typing import Any, Final, Protocol

from covey_core.errors import CoveyError, FrameTooLarge, ProtocolViolation
from covey_core.host import limits
from covey_core.wire import uvarint

_HELLO: Final = "/multistream/1.0.0"
_NOT_AVAILABLE: Final = "na"
_LIST: Final = "ls"
_HEADER_BYTES: Final = 2


class ByteStream(Protocol):
    """What is negotiated on: libp2p's raw, secured and muxed streams read up to n bytes, b"" or an error at the end."""

    async def read(self, n: int | None = None, /) -> bytes:
        """Return up to n bytes."""
        ...

    async def write(self, data: bytes, /) -> None:
        """Send all of `data`."""
        ...


class NotSpoken(CoveyError):
    """The other side speaks none of the protocols that were proposed."""


async def propose(stream: ByteStream, protocol: str, *, early: bytes = b"") -> None:
    """Ask for one protocol; `NotSpoken` when the peer declines, `ProtocolViolation` when it answers nonsense.

    Greeting and proposal leave in one write, as go and js do: one round trip. `early` leaves with them: what is said in
    the protocol first, to a peer that most likely speaks it.
    """
    await stream.write(_message(_HELLO) + _message(protocol) + early)
    await _hear_agreement(stream, protocol)


class Proposing:
    """A connection on which `protocol` was proposed and is spoken at once; the answer is read before the first byte.

    For what a peer either speaks or is of no use: a round trip less. `read` raises what `propose` would.
    """

    def __init__(self, connection: Any, protocol: str) -> None:
        self._connection = connection
        self._awaited: str | None = protocol

    async def propose(self) -> None:
        """Send the proposal; nothing is waited for."""
        if self._awaited is not None:
            await self._connection.write(_message(_HELLO) + _message(self._awaited))

    async def read(self, n: int | None = None) -> bytes:
        """Return up to `n` bytes of what the peer says in the protocol."""
        if self._awaited is not None:
            protocol, self._awaited = self._awaited, None
            await _hear_agreement(self._connection, protocol)
        data: bytes = await self._connection.read(n)
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


async def _hear_agreement(stream: ByteStream, protocol: str) -> None:
    greeting = await _read(stream)
    if greeting != _HELLO:
        raise ProtocolViolation("a peer that does not speak multistream-select 1.0.0")
    answer = await _read(stream)
    if answer == _NOT_AVAILABLE:
        raise NotSpoken(f"the peer does not speak {protocol}")
    if answer != protocol:
        raise ProtocolViolation("an answer to another protocol than the one proposed")


async def answer(stream: ByteStream, spoken: Container[str] | Iterable[str]) -> str:
    """Answer a peer's proposals and return the agreed protocol; `ProtocolViolation` after 16 tries or on nonsense."""
    await stream.write(_message(_HELLO))
    if await _read(stream) != _HELLO:
        raise ProtocolViolation("a peer that does not speak multistream-select 1.0.0")
    known = set(spoken) if isinstance(spoken, Iterable) else spoken
    for _ in range(limits.STREAM_PROTOCOL_TRIES):
        asked = await _read(stream)
        if asked in known:
            await stream.write(_message(asked))
            return asked
        await stream.write(_message(_NOT_AVAILABLE))
    raise ProtocolViolation(f"more than {limits.STREAM_PROTOCOL_TRIES} proposals on one stream")


def _message(text: str) -> bytes:
    line = text.encode() + b"\n"
    return uvarint.encode(len(line)) + line


async def _read(stream: ByteStream) -> str:
    header = b""
    while (decoded := uvarint.decode(header)) is None:
        if len(header) >= _HEADER_BYTES:
            raise ProtocolViolation(f"a multistream message of over {limits.STREAM_PROTOCOL_BYTES} bytes")
        header += await _exactly(stream, 1)
    size, _ = decoded
    if size > limits.STREAM_PROTOCOL_BYTES:
        raise FrameTooLarge(size=size, limit=limits.STREAM_PROTOCOL_BYTES)
    line = await _exactly(stream, size)
    if not line.endswith(b"\n"):
        raise ProtocolViolation("a multistream message without its end of line")
    try:
        return line[:-1].decode()
    except UnicodeDecodeError as exc:
        raise ProtocolViolation("a multistream message that is no text") from exc


async def _exactly(stream: ByteStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = await stream.read(size - len(data))
        if not more:
            raise ProtocolViolation("the stream ended within its negotiation")
        data += more
    return data
