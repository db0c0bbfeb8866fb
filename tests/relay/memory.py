"""A pair of streams in memory that behave as covey_core.host.Stream: ends, half-closes, resets, back-pressure."""

import trio

from covey_core.errors import StreamLost


class MemoryStream:
    """One end; `window` bytes fit between the ends before a writer waits."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._incoming = bytearray()
        self._ended = False
        self._lost = False
        self._changed = trio.Condition()
        self.other: MemoryStream
        self.write_closed = False
        self.closed = False
        self.was_reset = False

    async def read_some(self, max_bytes: int = 65536) -> bytes:
        async with self._changed:
            while not self._incoming and not self._ended and not self._lost:
                await self._changed.wait()
            if self._lost:
                raise StreamLost("reset")
            data = bytes(self._incoming[:max_bytes])
            del self._incoming[:max_bytes]
            self._changed.notify_all()
            return data

    async def write(self, data: bytes) -> None:
        if self.write_closed:
            raise StreamLost("closed for writing")
        view = memoryview(data)
        while view:
            async with self.other._changed:
                while len(self.other._incoming) >= self._window and not self._lost:
                    await self.other._changed.wait()
                if self._lost:
                    raise StreamLost("reset")
                room = self._window - len(self.other._incoming)
                self.other._incoming += view[:room]
                view = view[room:]
                self.other._changed.notify_all()

    async def close_write(self) -> None:
        self.write_closed = True
        async with self.other._changed:
            self.other._ended = True
            self.other._changed.notify_all()

    async def close(self) -> None:
        with trio.CancelScope(shield=True):
            if not self.write_closed:
                await self.close_write()
        self.closed = True

    async def reset(self) -> None:
        self.was_reset = True
        with trio.CancelScope(shield=True):
            for end in (self, self.other):
                async with end._changed:
                    end._lost = True
                    end._changed.notify_all()

    async def read_all(self) -> bytes:
        data = bytearray()
        while chunk := await self.read_some():
            data += chunk
        return bytes(data)


def stream_pair(window: int = 256 * 1024) -> tuple[MemoryStream, MemoryStream]:
    """Return the two ends of a stream."""
    near, far = MemoryStream(window), MemoryStream(window)
    near.other, far.other = far, near
    return near, far
