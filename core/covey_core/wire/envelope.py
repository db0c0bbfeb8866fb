"""Signed envelopes: a payload with the key that signed it.

Owns: sealing and opening with Ed25519 keys. Spec: libp2p specs, RFC 0002 (signed envelopes). Never touches: what the
payload means (wire.voucher).
"""

from google.protobuf.message import DecodeError
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from covey_core.errors import ProtocolViolation
from covey_core.identity import Identity
from covey_core.peers import PeerId, peer_id_of
from covey_core.wire import uvarint
from covey_core.wire.pb import envelope_pb2 as pb

_ED25519 = 1  # KeyType, libp2p specs, peer-ids
_SIGNATURE_BYTES = 64


def seal_envelope(identity: Identity, *, domain: str, payload_type: bytes, payload: bytes) -> bytes:
    """Return the envelope of `payload`, signed by `identity` under `domain`."""
    signature = identity.sign(_signed_part(domain, payload_type, payload))
    message = pb.Envelope(
        public_key=pb.PublicKey(type=_ED25519, data=identity.public_key),
        payload_type=payload_type,
        payload=payload,
        signature=signature,
    )
    return message.SerializeToString(deterministic=True)


def open_envelope(data: bytes, *, domain: str, payload_type: bytes, limit: int) -> tuple[PeerId, bytes]:
    """Return (the signer's PeerId, payload) of an envelope of at most `limit` bytes.

    Raises `ProtocolViolation` when it is none, of another payload type, signed with another kind of key than Ed25519,
    or the signature does not fit.
    """
    if len(data) > limit:
        raise ProtocolViolation(f"an envelope of {len(data)} bytes, over the limit of {limit}")
    message = pb.Envelope()
    try:
        message.ParseFromString(data)
    except DecodeError as exc:
        raise ProtocolViolation("these bytes are no signed envelope") from exc
    if message.public_key.type != _ED25519:
        raise ProtocolViolation(f"an envelope signed with a key of type {message.public_key.type}, not Ed25519")
    if message.payload_type != payload_type:
        raise ProtocolViolation("an envelope of another payload type")
    if len(message.signature) != _SIGNATURE_BYTES:
        raise ProtocolViolation(f"an Ed25519 signature of {len(message.signature)} bytes")
    signer = peer_id_of(message.public_key.data)
    try:
        VerifyKey(message.public_key.data).verify(
            _signed_part(domain, message.payload_type, message.payload), message.signature
        )
    except BadSignatureError as exc:
        raise ProtocolViolation("an envelope whose signature does not fit") from exc
    return signer, message.payload


def _signed_part(domain: str, payload_type: bytes, payload: bytes) -> bytes:
    parts = (domain.encode(), payload_type, payload)
    return b"".join(uvarint.encode(len(part)) + part for part in parts)
