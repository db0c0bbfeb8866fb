"""The stored form of a ratchet: fixed-size fields in a fixed order.

Owns: writing and reading. Spec: docs/spec/e2ee.md 8.7. Never touches: using the keys.
"""

from __future__ import annotations

from typing import Final

from covey_node.crypto.chains import OwnKeys, PeerKeys, ReceivingChain, SendingChain
from covey_node.crypto.primitives import (
    KEM_CIPHERTEXT_BYTES,
    KEM_PUBLIC_BYTES,
    KEM_SEED_BYTES,
    KEY_BYTES,
    KemPair,
    KemPublic,
)
from covey_node.crypto.ratchet import Ratchet
from covey_node.crypto.reader import Reader
from covey_node.crypto.skipped import SkippedKeys

HEADER_KEYS_BYTES: Final = 64
ANNOUNCED_BYTES: Final = KEY_BYTES + KEM_PUBLIC_BYTES + KEM_CIPHERTEXT_BYTES


def write_ratchet(ratchet: Ratchet) -> bytes:
    """Return the secret stored form."""
    parts = [ratchet.root_key, ratchet.next_sending_headers, ratchet.next_receiving_headers]
    parts.append(ratchet.previous_count.to_bytes(4, "big"))
    keys = ratchet.keys
    if isinstance(keys, OwnKeys):
        parts += [b"\x00", keys.x25519_secret, keys.x25519, keys.kem.seed, keys.kem.public]
    else:
        parts += [b"\x01", keys.x25519, keys.kem.raw]
    sending, receiving = ratchet.sending, ratchet.receiving
    if sending is None:
        parts.append(b"\x00")
    else:
        parts += [b"\x01", sending.chain_key, sending.count.to_bytes(4, "big"), sending.header_keys, sending.announced]
    if receiving is None:
        parts.append(b"\x00")
    else:
        parts += [b"\x01", receiving.chain_key, receiving.count.to_bytes(8, "big"), receiving.header_keys]
    parts.append(ratchet.skipped.encode())
    return b"".join(parts)


def read_ratchet(reader: Reader) -> Ratchet:
    """Reverse `write_ratchet`; `StateDamaged`."""
    root_key = reader.take(KEY_BYTES)
    next_sending, next_receiving = reader.take(HEADER_KEYS_BYTES), reader.take(HEADER_KEYS_BYTES)
    previous_count = reader.number(4)
    keys = _read_peer_keys(reader) if reader.flag() else _read_own_keys(reader)
    sending = receiving = None
    if reader.flag():
        chain_key, count = reader.take(KEY_BYTES), reader.number(4)
        sending = SendingChain(chain_key, count, reader.take(HEADER_KEYS_BYTES), reader.take(ANNOUNCED_BYTES))
    if reader.flag():
        receiving = ReceivingChain(reader.take(KEY_BYTES), reader.number(8), reader.take(HEADER_KEYS_BYTES))
    skipped = SkippedKeys.read(reader)
    return Ratchet(root_key, keys, sending, next_sending, previous_count, receiving, next_receiving, skipped)


def _read_own_keys(reader: Reader) -> OwnKeys:
    secret, public, seed = reader.take(KEY_BYTES), reader.take(KEY_BYTES), reader.take(KEM_SEED_BYTES)
    return OwnKeys(secret, public, KemPair(seed, reader.take(KEM_PUBLIC_BYTES)))


def _read_peer_keys(reader: Reader) -> PeerKeys:
    return PeerKeys(reader.take(KEY_BYTES), KemPublic.checked_before(reader.take(KEM_PUBLIC_BYTES)))
