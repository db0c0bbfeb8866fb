"""A stream of ours on one connection, up to the agreed protocol.

Owns: opening and proposing, with their deadlines. Spec: docs/spec/host.md. Never touches: which connection is used.
"""

from collections.abc import Sequence
from typing import Final

import trio
from libp2p.network.stream.net_stream import NetStream
from libp2p.peer.id import ID

from covey_core.errors import ProtocolViolation, StreamLost
from covey_core.host import limits, multistream
from covey_core.host.connection import Connection
from covey_core.host.contained import Contained, shielded
from covey_core.host.streams import LOST
from covey_core.peers import PeerId

_PEER_ID_BYTES: Final = frozenset({34, 38, 39})
"""SHA-256 of an RSA key, Ed25519 key, secp256k1 key. libp2p specs, peer-ids."""


class ProtocolRefused(StreamLost):
    """The peer is connected but does not speak the protocol."""


def libp2p_id(peer: PeerId) -> ID:
    """Return libp2p's form of a PeerId; `ProtocolViolation` for text that is none."""
    with Contained() as outcome:
        found = ID.from_base58(peer)
        if len(found.to_bytes()) in _PEER_ID_BYTES:
            return found
    raise ProtocolViolation("that is no PeerId") from outcome.error


async def negotiated(connection: Connection, protocols: Sequence[str], *, early: bytes = b"") -> NetStream:
    """Open a stream on this very connection and agree on the first of `protocols` that the peer speaks.

    `early` leaves right behind each proposal, before the peer has agreed.
    """
    refused: ProtocolRefused | None = None
    for protocol in protocols:
        net = await connection.open()
        done = False
        try:
            with trio.fail_after(limits.NEGOTIATE_SECONDS):
                await multistream.propose(net, protocol, early=early)
            net.set_protocol(protocol)  # type: ignore[arg-type]
            done = True
        except multistream.NotSpoken as exc:
            refused = ProtocolRefused(str(exc))
        except trio.TooSlowError as exc:
            connection.doubt()
            raise StreamLost(f"no answer within {limits.NEGOTIATE_SECONDS:g} s") from exc
        except (ProtocolViolation, *LOST) as exc:
            raise StreamLost("no agreement on a protocol") from exc
        finally:
            if not done:
                with shielded(limits.CLOSE_SECONDS), Contained():
                    await net.reset()
        if done:
            return net
    raise refused or ProtocolRefused("no protocol was proposed")
