"""Reservation vouchers: a relay's word that it serves a peer until a time.

Owns: their payload inside a signed envelope. Spec: libp2p specs, relay/circuit-v2.md, "Reservation Vouchers" (domain
"libp2p-relay-rsvp", payload type 0x0302). Never touches: who gets one (covey_relay.reservations).
"""

from dataclasses import dataclass
from typing import Final

from google.protobuf.message import DecodeError

from covey_core import limits
from covey_core.errors import ProtocolViolation
from covey_core.identity import Identity
from covey_core.peers import PeerId, peer_id_bytes, peer_id_from_bytes
from covey_core.wire.envelope import open_envelope, seal_envelope
from covey_core.wire.pb import circuit_pb2 as pb

DOMAIN: Final = "libp2p-relay-rsvp"
PAYLOAD_TYPE: Final = b"\x03\x02"


@dataclass(frozen=True, slots=True)
class Voucher:
    """`relay` serves `peer` until `expires_at` (Unix seconds, UTC)."""

    relay: PeerId
    peer: PeerId
    expires_at: int


def seal_voucher(identity: Identity, *, peer: PeerId, expires_at: int) -> bytes:
    """Return a voucher for `peer`, signed by the relay `identity`."""
    message = pb.Voucher(
        relay=peer_id_bytes(identity.peer_id), peer=peer_id_bytes(peer), expiration=expires_at
    )  # fields in order of their ids: the canonical form
    return seal_envelope(
        identity, domain=DOMAIN, payload_type=PAYLOAD_TYPE, payload=message.SerializeToString(deterministic=True)
    )


def open_voucher(data: bytes, *, relay: PeerId) -> Voucher:
    """Return the voucher in `data`; `ProtocolViolation` unless `relay` itself signed it. Its time is not checked."""
    signer, payload = open_envelope(data, domain=DOMAIN, payload_type=PAYLOAD_TYPE, limit=limits.VOUCHER_MAX_BYTES)
    message = pb.Voucher()
    try:
        message.ParseFromString(payload)
    except DecodeError as exc:
        raise ProtocolViolation("an envelope that holds no voucher") from exc
    voucher = Voucher(
        relay=peer_id_from_bytes(message.relay),
        peer=peer_id_from_bytes(message.peer),
        expires_at=message.expiration,
    )
    if signer != voucher.relay or signer != relay:
        raise ProtocolViolation("a voucher that its relay did not sign")
    return voucher
