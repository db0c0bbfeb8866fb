"""A circuit's byte stream as a raw connection: what Noise and Yamux run on, end to end, through a relay.

Owns: the translation between `Stream` and libp2p's raw connection. Spec: docs/spec/circuit.md, docs/spec/host.md.
Never touches: hop and stop messages (they are over when the stream comes here).
"""

from typing import Final

from libp2p.connection_types import ConnectionType
from libp2p.io.abc import ReadWriteCloser
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.network.connection.raw_connection import RawConnection
from multiaddr import Multiaddr

from covey_core import limits as core_limits
from covey_core.errors import StreamLost
from covey_core.host import addresses
from covey_core.host.streams import Stream
from covey_core.peers import PeerId


class _CircuitBytes(ReadWriteCloser):
    """The circuit's bytes. An end of the stream ends the connection; closing the connection ends the stream."""

    def __init__(self, stream: Stream) -> None:
        self._stream: Final = stream

    async def read(self, n: int | None = None) -> bytes:
        try:
            return await self._stream.read_some(n or core_limits.FRAME_READ_BUFFER_BYTES)
        except StreamLost as exc:
            raise ConnectionClosedError("the circuit was lost", transport="circuit") from exc

    async def write(self, data: bytes) -> None:
        try:
            await self._stream.write(data)
        except StreamLost as exc:
            raise ConnectionClosedError("the circuit was lost", transport="circuit") from exc

    async def close(self) -> None:
        await self._stream.close()

    def get_remote_address(self) -> tuple[str, int] | None:
        return None


def raw_connection(stream: Stream, *, relay: PeerId, dialer: bool) -> RawConnection:
    """Return the raw connection; its address is the relay's, ending in /p2p/<relay>/p2p-circuit."""
    head = addresses.split_peer(Multiaddr(stream.remote_addr))[0]
    address = Multiaddr(f"{head}/p2p/{relay}/p2p-circuit")
    return RawConnection(_CircuitBytes(stream), dialer, ConnectionType.RELAYED, [address])
