"""What a connected peer says of itself: the protocols it serves and the addresses it listens on.

Owns: one identify exchange as its asker. Spec: libp2p specs, identify (`/ipfs/id/1.0.0`, one message, then the end).
Never touches: the peerstore, whether the answer is believed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import trio
from google.protobuf.message import DecodeError
from libp2p.identity.identify.pb.identify_pb2 import Identify

from covey_core.errors import ProtocolViolation, Unreachable
from covey_core.host import kad_limits as limits
from covey_core.host.kad_addrs import text_addr
from covey_core.peers import PeerId

if TYPE_CHECKING:
    from covey_core.host import Host

IDENTIFY: Final = "/ipfs/id/1.0.0"


@dataclass(frozen=True, slots=True)
class Identified:
    """Protocol ids a peer serves, and the multiaddrs (ending in /p2p/<its PeerId>) it says it listens on."""

    protocols: frozenset[str]
    addrs: tuple[str, ...]


async def identify(host: Host, peer: PeerId) -> Identified:
    """Ask a connected peer who it is.

    Raises `Unreachable` or `StreamLost` when it does not answer in 3 s, `ProtocolViolation` for a broken answer.
    """
    try:
        with trio.fail_after(limits.REQUEST_SECONDS):
            stream = await host.open_stream(peer, IDENTIFY)
            try:
                payload = await stream.read_frame(limit=limits.IDENTIFY_BYTES)
            finally:
                await stream.reset()
    except trio.TooSlowError as exc:
        raise Unreachable(f"no identify answer within {limits.REQUEST_SECONDS} s") from exc
    message = Identify()
    try:
        message.ParseFromString(payload or b"")
    except DecodeError as exc:
        raise ProtocolViolation("an identify answer that cannot be read") from exc
    texts = (text_addr(raw, peer) for raw in message.listen_addrs[: limits.IDENTIFY_ADDRESSES])
    return Identified(frozenset(message.protocols), tuple(text for text in texts if text is not None))
