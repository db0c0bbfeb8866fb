"""Where the two streams of a circuit meet: bytes, ends and losses of one side go to the other.

Owns: the two streams of one circuit from the moment both ends agreed, until both are closed or reset.
Spec: docs/spec/circuit.md, section "The data path". Never touches: the handshakes, the tables, metrics other than the
byte count it is given.
"""

import math
from collections.abc import Callable
from typing import Protocol

import trio

from covey_core.errors import StreamLost
from covey_relay.circuits import Circuit, CircuitEnd, Meter
from covey_relay.limits import READ_BYTES


class ByteStream(Protocol):
    """What a junction needs of a stream; covey_core.host.Stream has it.

    All but `close` and `reset` may raise `StreamLost`; those two finish also while being cancelled.
    """

    async def read_some(self, max_bytes: int = ...) -> bytes:
        """Return 1 to `max_bytes` bytes, or none at the end of the stream."""

    async def write(self, data: bytes) -> None:
        """Write all of `data`; returns when there is room for more."""

    async def close_write(self) -> None:
        """End this side's direction; the other goes on."""

    async def close(self) -> None:
        """End this side's direction and give the stream up."""

    async def reset(self) -> None:
        """End both directions at once; what was not read yet is lost."""


class Junction:
    """One standing circuit. `run` carries it to its end; `stop` ends it from another task."""

    def __init__(
        self, circuit: Circuit, *, source: ByteStream, target: ByteStream, carried: Callable[[int], None]
    ) -> None:
        self._circuit = circuit
        self._source = source
        self._target = target
        self._carried = carried
        self._end: CircuitEnd | None = None
        self._scope = trio.CancelScope(deadline=math.inf if circuit.expires_at is None else circuit.expires_at)

    def stop(self, end: CircuitEnd) -> None:
        """Reset both streams because of `end`; the first reason stays."""
        if self._end is None:
            self._end = end
            self._scope.cancel()

    async def run(self) -> CircuitEnd:
        """Carry bytes both ways and return why it ended; both streams are closed, or reset unless it was `EOF`."""
        whole = False
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._carry, self._source, self._target, self._circuit.onward)
                    await self._carry(self._target, self._source, self._circuit.back)
                whole = self._end is None
            if whole:
                await self._source.close()
                await self._target.close()
        finally:
            if not whole:
                await self._source.reset()
                await self._target.reset()
        if whole:
            return CircuitEnd.EOF
        return self._end or CircuitEnd.DURATION

    async def _carry(self, reader: ByteStream, writer: ByteStream, meter: Meter) -> None:
        """Carry one direction: at most `READ_BYTES` are held, and nothing is read before they are written."""
        try:
            while data := await reader.read_some(READ_BYTES):
                if meter.admit(len(data)) < len(data):
                    self.stop(CircuitEnd.BYTES)
                    return
                await writer.write(data)
                self._carried(len(data))
            await writer.close_write()
        except StreamLost:
            self.stop(CircuitEnd.ERROR)
