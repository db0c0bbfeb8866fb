"""From a raw connection to a secured and multiplexed one: Noise, then Yamux, and nothing else.

Owns: the two negotiations and what they may choose. libp2p's default also accepts plaintext (docs/adr/0001).
Spec: docs/spec/host.md; libp2p specs noise, yamux. Never touches: sockets, the connection table.
"""

from typing import Any, Final

from libp2p.abc import IMuxedConn, IRawConnection, ISecureConn
from libp2p.crypto.keys import KeyPair
from libp2p.crypto.x25519 import create_new_key_pair as create_new_x25519_key_pair
from libp2p.custom_types import TProtocol
from libp2p.peer.id import ID
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.stream_muxer.yamux.yamux import Yamux
from libp2p.transport.exceptions import MuxerUpgradeFailure, SecurityUpgradeFailure
from libp2p.transport.upgrader import TransportUpgrader

from covey_core.errors import CoveyError
from covey_core.host import multistream
from covey_core.host.contained import Contained, kind_of
from covey_core.host.yamux import HardenedYamux

NOISE: Final = "/noise"
YAMUX: Final = "/yamux/1.0.0"


class NoiseYamuxUpgrader(TransportUpgrader):
    """libp2p's upgrader with one way through it. Deadlines are the caller's."""

    def __init__(self, keys: KeyPair, *, liveness_interval_seconds: float, liveness_timeout_seconds: float) -> None:
        self._noise = NoiseTransport(keys, noise_privkey=create_new_x25519_key_pair().private_key)
        self._liveness = (liveness_interval_seconds, liveness_timeout_seconds)
        super().__init__({TProtocol(NOISE): self._noise}, {TProtocol(YAMUX): Yamux})

    async def upgrade_security(
        self,
        raw_conn: IRawConnection,
        is_initiator: bool,  # noqa: FBT001 - upstream's signature
        peer_id: ID | None = None,
    ) -> ISecureConn:
        """Return the Noise session; the dialer proves that the other side holds `peer_id`'s key."""
        with Contained() as outcome:
            if not is_initiator:
                await multistream.answer(raw_conn, (NOISE,))
                return await self._noise.secure_inbound(raw_conn)
            if peer_id is None:
                raise SecurityUpgradeFailure("a dialer needs to know whom it dials")
            proposing: Any = multistream.Proposing(raw_conn, NOISE)
            await proposing.propose()  # there is nothing else to agree on: the first Noise message goes right behind it
            return await self._noise.secure_outbound(proposing, peer_id)  # raises when another peer answers
        raise SecurityUpgradeFailure(_reason(outcome, "no Noise session")) from outcome.error

    async def upgrade_connection(self, conn: ISecureConn, peer_id: ID) -> IMuxedConn:
        """Return the Yamux connection on a Noise session; the Noise initiator is the Yamux client."""
        with Contained() as outcome:
            if conn.is_initiator:
                await multistream.propose(conn, YAMUX)
            else:
                await multistream.answer(conn, (YAMUX,))
            interval, timeout = self._liveness
            return HardenedYamux(conn, peer_id, liveness_interval_seconds=interval, liveness_timeout_seconds=timeout)
        raise MuxerUpgradeFailure(_reason(outcome, "no Yamux connection")) from outcome.error


def _reason(outcome: Contained, otherwise: str) -> str:
    if isinstance(outcome.error, CoveyError | SecurityUpgradeFailure):
        return f"{otherwise}: {outcome.error}"
    return otherwise if outcome.error is None else f"{otherwise}: {kind_of(outcome.error)}"
