"""The seal key: HPKE with X-Wing, so that a first contact shows neither its sender nor its content.

Owns: the X-Wing key pair from its 32-byte seed, sealing and opening. Spec: docs/spec/e2ee.md 5.3 and 7;
RFC 9180 base mode with KEM X-Wing (draft-connolly-cfrg-xwing-kem), HKDF-SHA-256, ChaCha20-Poly1305.
Never touches: what is sealed.
"""

from __future__ import annotations

import hashlib
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, MLKEM768X25519PublicKey, Suite

from covey_node.crypto.errors import KeyRefused, Undecryptable
from covey_node.crypto.primitives import KEM_PUBLIC_BYTES, KEM_SEED_BYTES, KEY_BYTES, TAG_BYTES, Rng, check_x25519

SEAL_SEED_BYTES: Final = 32
SEAL_PUBLIC_BYTES: Final = KEM_PUBLIC_BYTES + KEY_BYTES
ENCAPSULATION_BYTES: Final = 1_088 + KEY_BYTES
SEAL_OVERHEAD_BYTES: Final = ENCAPSULATION_BYTES + TAG_BYTES

_SUITE: Final = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)


class SealPair:
    """A seal key from its 32-byte seed; expanded on first use (X-Wing: SHAKE-256 to 96 bytes), then kept."""

    __slots__ = ("_key", "_public", "seed")

    def __init__(self, seed: bytes) -> None:
        self.seed = seed
        self._key: MLKEM768X25519PrivateKey | None = None
        self._public = b""

    def __repr__(self) -> str:
        return "SealPair(...)"

    @classmethod
    def generate(cls, rng: Rng) -> SealPair:
        """Return a new pair from 32 random bytes."""
        return cls(rng(SEAL_SEED_BYTES))

    @property
    def public(self) -> bytes:
        """The 1,216-byte public key: ML-KEM-768 (1,184), then X25519 (32)."""
        self._expand()
        return self._public

    def open(self, sealed: bytes, info: bytes) -> bytes:
        """Return what `seal_to` sealed; `Undecryptable` when anything differs."""
        try:
            return _SUITE.decrypt(sealed, self._expand(), info)
        except (InvalidTag, ValueError) as exc:
            msg = "first-contact envelope does not open"
            raise Undecryptable(msg) from exc

    def _expand(self) -> MLKEM768X25519PrivateKey:
        if self._key is None:
            expanded = hashlib.shake_256(self.seed).digest(KEM_SEED_BYTES + KEY_BYTES)
            kem = MLKEM768PrivateKey.from_seed_bytes(expanded[:KEM_SEED_BYTES])
            curve = X25519PrivateKey.from_private_bytes(expanded[KEM_SEED_BYTES:])
            self._key = MLKEM768X25519PrivateKey(kem, curve)
            self._public = kem.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()
        return self._key


def check_seal_key(public: bytes) -> bytes:
    """Return the key unless either half is refused: `KeyRefused`."""
    _parse(public)
    check_x25519(public[KEM_PUBLIC_BYTES:])
    return public


def seal_to(public: bytes, plaintext: bytes, info: bytes) -> bytes:
    """Return encapsulation (1,120 bytes), ciphertext and tag (16); the randomness is the library's own."""
    return _SUITE.encrypt(plaintext, _parse(public), info)


def _parse(public: bytes) -> MLKEM768X25519PublicKey:
    try:
        kem = MLKEM768PublicKey.from_public_bytes(public[:KEM_PUBLIC_BYTES])
        return MLKEM768X25519PublicKey(kem, X25519PublicKey.from_public_bytes(public[KEM_PUBLIC_BYTES:]))
    except ValueError as exc:
        msg = "seal key is not a valid X-Wing key"
        raise KeyRefused(msg) from exc
