"""Messages on a byte stream: each behind its length.

Owns: cutting bytes into frames and back. Spec: docs/spec/framing.md (libp2p's: unsigned varint length, then that many
bytes). Never touches: streams, what the frames mean.
"""

from covey_core.errors import FrameTooLarge
from covey_core.wire import uvarint


def encode_frame(payload: bytes, *, limit: int) -> bytes:
    """Return `payload` behind its length; `FrameTooLarge` when it has more than `limit` bytes."""
    if len(payload) > limit:
        raise FrameTooLarge(size=len(payload), limit=limit)
    return uvarint.encode(len(payload)) + payload


class FrameDecoder:
    """Turns bytes as they come into frames of at most `limit` bytes.

    `feed` takes any number of bytes; `next_frame` returns a whole payload or None. An announced length over the limit
    raises `FrameTooLarge` before any of the payload is waited for. After an error the decoder is of no more use.
    """

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._start = 0  # what lies before it has been handed out

    def feed(self, data: bytes) -> None:
        """Take bytes from the stream. What is buffered is what the caller fed and has not yet taken out."""
        if self._start:
            del self._buffer[: self._start]
            self._start = 0
        self._buffer += data

    def next_frame(self) -> bytes | None:
        """Return the next payload, or None when it is not complete; `ProtocolViolation`, `FrameTooLarge`."""
        header = uvarint.decode(self._buffer, self._start)
        if header is None:
            return None
        size, begin = header
        if size > self._limit:
            raise FrameTooLarge(size=size, limit=self._limit)
        if len(self._buffer) - begin < size:
            return None
        self._start = begin + size
        return bytes(self._buffer[begin : self._start])

    @property
    def is_between_frames(self) -> bool:
        """Whether nothing is buffered: an end of the stream is clean here and a truncation elsewhere."""
        return len(self._buffer) == self._start

    @property
    def missing_bytes(self) -> int:
        """How many bytes at least must be fed before `next_frame` returns one: what to ask the stream for."""
        header = uvarint.decode(self._buffer, self._start)
        if header is None:
            return 1
        size, begin = header
        return max(0, begin + size - len(self._buffer))
