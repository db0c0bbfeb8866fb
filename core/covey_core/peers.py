"""How a peer is named: PeerIds of Ed25519 keys, as text.

Owns: the conversion between a 32-byte Ed25519 public key and its PeerId. Spec: libp2p specs, peer-ids (identity
multihash of the key's protobuf, base58btc). Never touches: libp2p, private keys.
"""

from typing import Final, NewType

import base58

from covey_core import limits
from covey_core.errors import ProtocolViolation

PeerId = NewType("PeerId", str)
"""A PeerId as base58btc text, "12D3KooW..." (52 characters)."""

# identity multihash (code 0x00, 36 bytes) of PublicKey{Type: Ed25519 (1), Data: 32 bytes}
_PREFIX: Final = bytes.fromhex("002408011220")
_KEY_BYTES: Final = 32
_TEXT_MAX_CHARS: Final = 64


def peer_id_of(public_key: bytes) -> PeerId:
    """Return the PeerId of an Ed25519 public key of 32 bytes; `ProtocolViolation` for any other length."""
    if len(public_key) != _KEY_BYTES:
        raise ProtocolViolation(f"an Ed25519 public key has {_KEY_BYTES} bytes, not {len(public_key)}")
    return PeerId(base58.b58encode(_PREFIX + public_key).decode())


def peer_id_bytes(peer: PeerId) -> bytes:
    """Return the 38 bytes of an Ed25519 PeerId's multihash; `ProtocolViolation` if it is not one."""
    if len(peer) > _TEXT_MAX_CHARS:
        raise ProtocolViolation(f"a PeerId of {len(peer)} characters")
    try:
        raw = bytes(base58.b58decode(peer))
    except ValueError as exc:
        raise ProtocolViolation("a PeerId that is not base58") from exc
    if len(raw) != limits.PEER_ID_BYTES or not raw.startswith(_PREFIX):
        raise ProtocolViolation("a PeerId that holds no Ed25519 key")
    return raw


def peer_id_from_bytes(raw: bytes) -> PeerId:
    """Return the PeerId of a 38-byte multihash as it stands on the wire; `ProtocolViolation` if it is none of ours."""
    if len(raw) != limits.PEER_ID_BYTES or not raw.startswith(_PREFIX):
        raise ProtocolViolation(f"{len(raw)} bytes that are no Ed25519 PeerId")
    return PeerId(base58.b58encode(raw).decode())


def public_key_of(peer: PeerId) -> bytes:
    """Return the 32-byte Ed25519 public key inside a PeerId; `ProtocolViolation` if it is not an Ed25519 PeerId."""
    return peer_id_bytes(peer)[len(_PREFIX) :]


def short(peer: PeerId) -> str:
    """Return the last 6 characters: enough for a debug log, too few to name somebody."""
    return peer[-6:]
