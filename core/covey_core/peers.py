"""How a peer is named: PeerIds as text.

Owns: the conversion between an Ed25519 public key, its PeerId as text and as bytes. Foreign peers may have PeerIds of
other key types; ours are Ed25519. Spec: libp2p specs, peer-ids. Never touches: libp2p, private keys.
"""

from typing import Final, NewType

import base58

from covey_core.errors import ProtocolViolation

PeerId = NewType("PeerId", str)
"""A PeerId as base58btc text: "12D3KooW..." (52 characters) for an Ed25519 key."""

# Multihash heads: the identity code (0x00) around a small key, or sha2-256 (0x12) of a large one.
_IDENTITY: Final = 0x00
_SHA2_256: Final = 0x12
_SHA2_256_BYTES: Final = 32
_INLINE_MAX_BYTES: Final = 42
_HEAD_BYTES: Final = 2
# identity multihash (36 bytes) of PublicKey{Type: Ed25519 (1), Data: 32 bytes}
_ED25519: Final = bytes.fromhex("002408011220")
_KEY_BYTES: Final = 32
_TEXT_MAX_CHARS: Final = 64


def peer_id_of(public_key: bytes) -> PeerId:
    """Return the PeerId of an Ed25519 public key of 32 bytes; `ProtocolViolation` for any other length."""
    if len(public_key) != _KEY_BYTES:
        raise ProtocolViolation(f"an Ed25519 public key has {_KEY_BYTES} bytes, not {len(public_key)}")
    return PeerId(base58.b58encode(_ED25519 + public_key).decode())


def peer_id_bytes(peer: PeerId) -> bytes:
    """Return the multihash (34 to 44 bytes; 38 for Ed25519) of a PeerId; `ProtocolViolation` if it is not one."""
    if len(peer) > _TEXT_MAX_CHARS:
        raise ProtocolViolation(f"a PeerId of {len(peer)} characters")
    try:
        raw = bytes(base58.b58decode(peer))
    except ValueError as exc:
        raise ProtocolViolation("a PeerId that is not base58") from exc
    if peer_id_from_bytes(raw) != peer:  # base58 libraries pass over white space
        raise ProtocolViolation("a PeerId that is not base58")
    return raw


def peer_id_from_bytes(raw: bytes) -> PeerId:
    """Return the PeerId of a multihash as it stands on the wire, of any key type; `ProtocolViolation` if it is none."""
    well_formed = (
        len(raw) > _HEAD_BYTES
        and raw[1] == len(raw) - _HEAD_BYTES
        and (
            (raw[0] == _IDENTITY and len(raw) - _HEAD_BYTES <= _INLINE_MAX_BYTES)
            or (raw[0] == _SHA2_256 and len(raw) - _HEAD_BYTES == _SHA2_256_BYTES)
        )
    )
    if not well_formed:
        raise ProtocolViolation(f"{len(raw)} bytes that are no PeerId")
    return PeerId(base58.b58encode(raw).decode())


def public_key_of(peer: PeerId) -> bytes:
    """Return the 32-byte Ed25519 public key inside a PeerId; `ProtocolViolation` if it is not an Ed25519 PeerId."""
    raw = peer_id_bytes(peer)
    if len(raw) != len(_ED25519) + _KEY_BYTES or not raw.startswith(_ED25519):
        raise ProtocolViolation("a PeerId that holds no Ed25519 key")
    return raw[len(_ED25519) :]


def ed25519_key_in(peer: PeerId) -> bytes | None:
    """Return the 32-byte Ed25519 public key inside a PeerId, None for a foreign peer with a key of another type."""
    try:
        return public_key_of(peer)
    except ProtocolViolation:
        return None


def short(peer: PeerId) -> str:
    """Return the last 6 characters: enough for a debug log, too few to name somebody."""
    return peer[-6:]
