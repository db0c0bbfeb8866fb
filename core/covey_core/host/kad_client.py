"""One request to a DHT server and its answer.

Owns: the asking end of a DHT stream. Spec: libp2p specs, kad-dht, "RPC messages"; docs/spec/dht.md.
Never touches: the routing table, whom to ask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from covey_core.errors import ProtocolViolation, StreamLost, Unreachable
from covey_core.host import kad_limits as limits
from covey_core.host.kad_wire import KadMessage, KadPeer, decode_message, encode_message

if TYPE_CHECKING:
    from covey_core.host import Host


async def request(host: Host, protocol: str, peer: KadPeer, message: KadMessage) -> KadMessage:
    """Send `message` to `peer`, connecting first where needed, and return the answer.

    Raises `Unreachable` when there is no connection within 3 s or no answer within 3 more, `StreamLost` when the peer
    refuses (it resets the stream), `ProtocolViolation` when the answer is none to this request.
    """
    if not host.connections(peer.peer):
        await host.connect(peer.peer, peer.addrs, timeout_seconds=limits.DIAL_SECONDS)
    try:
        with trio.fail_after(limits.REQUEST_SECONDS):
            answer = await _exchange(host, protocol, peer, encode_message(message))
    except trio.TooSlowError as exc:
        raise Unreachable(f"no DHT answer within {limits.REQUEST_SECONDS} s") from exc
    if answer is None:
        raise StreamLost("the DHT server ended the stream without an answer")
    decoded = decode_message(answer)
    if decoded.kind is not message.kind:
        raise ProtocolViolation(f"a DHT answer to {decoded.kind.name}, asked was {message.kind.name}")
    return decoded


async def _exchange(host: Host, protocol: str, peer: KadPeer, payload: bytes) -> bytes | None:
    stream = await host.open_stream(peer.peer, protocol)
    ended = False
    try:
        await stream.write_frame(payload, limit=limits.MESSAGE_BYTES)
        answer = await stream.read_frame(limit=limits.MESSAGE_BYTES)
        ended = True
        return answer
    finally:
        await (stream.close() if ended else stream.reset())
