"""The keys of a contact record: another one every day, known only to contacts.

Owns: `RecordKeys` (ours), `RecordShare` (what a contact gets), blinding, signing under a blinded key, and the sealing
of a record's content. Spec: docs/spec/e2ee.md section 10; the scheme is Tor's, rend-spec-v3 appendix A.2.
Never touches: the record's outer format, the DHT, the clock.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Final

import nacl.bindings as sodium
from nacl.exceptions import CryptoError

from covey_core.errors import ProtocolViolation
from covey_node.crypto.account import same_key
from covey_node.crypto.errors import StateDamaged, Undecryptable
from covey_node.crypto.limits import DAY_SECONDS
from covey_node.crypto.primitives import (
    KEY_BYTES,
    LABEL_RECORD_BLIND,
    LABEL_RECORD_KEY,
    LABEL_RECORD_NONCE,
    VERSION,
    Rng,
    check_ed25519,
    ed25519_public,
    hkdf_sha512,
)
from covey_node.crypto.reader import Reader

RECORD_SEAL_OVERHEAD_BYTES: Final = 24 + 16
SHARE_BYTES: Final = 2 * KEY_BYTES


def day_of(now: float) -> int:
    """Return the UTC day number of a Unix time: whole days since 1970-01-01."""
    return int(now // DAY_SECONDS)


@dataclass(frozen=True, slots=True)
class RecordShare:
    """What a contact needs to find and read our record: the record key A and the contact secret, 32 bytes each."""

    public: bytes = field(repr=False)
    secret: bytes = field(repr=False, compare=False)

    def encode(self) -> bytes:
        """Return 64 bytes; they are secret to our contacts and us."""
        return self.public + self.secret

    @classmethod
    def decode(cls, data: bytes) -> RecordShare:
        """Reverse `encode`; `ProtocolViolation` (`KeyRefused` for a key outside the prime-order group)."""
        if len(data) != SHARE_BYTES:
            msg = f"record share of {len(data)} bytes"
            raise ProtocolViolation(msg)
        return cls(check_ed25519(data[:KEY_BYTES]), data[KEY_BYTES:])

    def __eq__(self, other: object) -> bool:
        """Compare in constant time."""
        return isinstance(other, RecordShare) and same_key(self.encode(), other.encode())

    def __hash__(self) -> int:
        """Hash by the public half."""
        return hash(self.public)

    def blinding_factor(self, day: int) -> bytes:
        """Return the day's scalar h, reduced modulo the group order."""
        material = self._input(LABEL_RECORD_BLIND, day) + self.public
        return sodium.crypto_core_ed25519_scalar_reduce(hashlib.sha512(material).digest())

    def blinded_key(self, day: int) -> bytes:
        """Return A_day = h * A, the 32-byte Ed25519 key that signs the day's record."""
        return sodium.crypto_scalarmult_ed25519_noclamp(self.blinding_factor(day), self.public)

    def seal(self, day: int, plaintext: bytes, rng: Rng) -> bytes:
        """Return the day's ciphertext: nonce (24), XChaCha20-Poly1305 ciphertext, tag (16)."""
        nonce = rng(24)
        bound = self.blinded_key(day)
        return nonce + sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(plaintext, bound, nonce, self._key(day))

    def open(self, day: int, sealed: bytes) -> bytes:
        """Reverse `seal`; `Undecryptable`."""
        try:
            return sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(
                sealed[24:], self.blinded_key(day), sealed[:24], self._key(day)
            )
        except (CryptoError, ValueError, TypeError) as exc:
            msg = "contact record does not open"
            raise Undecryptable(msg) from exc

    def _key(self, day: int) -> bytes:
        return hkdf_sha512(salt=b"", secret=self.secret, info=self._input(LABEL_RECORD_KEY, day), length=KEY_BYTES)

    def _input(self, label: bytes, day: int) -> bytes:
        return label + day.to_bytes(8, "big") + (self.secret if label == LABEL_RECORD_BLIND else self.public)


@dataclass(frozen=True, slots=True)
class RecordKeys:
    """Our record key pair (A's 32-byte seed) and the contact secret. Both are replaced when somebody is blocked."""

    seed: bytes = field(repr=False, compare=False)
    share: RecordShare

    @classmethod
    def generate(cls, rng: Rng) -> RecordKeys:
        """Return new keys."""
        return cls.of(rng(KEY_BYTES), rng(KEY_BYTES))

    @classmethod
    def of(cls, seed: bytes, secret: bytes) -> RecordKeys:
        """Return the keys of a stored seed and contact secret, 32 bytes each."""
        return cls(seed, RecordShare(ed25519_public(seed), secret))

    def encode(self) -> bytes:
        """Return 65 secret bytes for the store."""
        return bytes((VERSION,)) + self.seed + self.share.secret

    @classmethod
    def decode(cls, data: bytes) -> RecordKeys:
        """Reverse `encode`; `StateDamaged`."""
        reader = Reader(data, StateDamaged)
        reader.expect(VERSION, "record key version")
        seed, secret = reader.take(KEY_BYTES), reader.take(KEY_BYTES)
        reader.end()
        return cls.of(seed, secret)

    def sign(self, day: int, message: bytes) -> bytes:
        """Return a 64-byte signature that verifies as plain Ed25519 under the day's blinded key."""
        expanded = hashlib.sha512(self.seed).digest()
        clamped = bytes((expanded[0] & 248,)) + expanded[1:31] + bytes((expanded[31] & 63 | 64,))
        # scalar_reduce takes 64 bytes: a clamped scalar, padded with zeros, is reduced without changing its product.
        scalar = sodium.crypto_core_ed25519_scalar_reduce(clamped + bytes(32))
        blinded = sodium.crypto_core_ed25519_scalar_mul(self.share.blinding_factor(day), scalar)
        public = self.share.blinded_key(day)
        prefix = hashlib.sha512(LABEL_RECORD_NONCE + expanded[32:]).digest()[:32]
        nonce = sodium.crypto_core_ed25519_scalar_reduce(hashlib.sha512(prefix + public + message).digest())
        commitment = sodium.crypto_scalarmult_ed25519_base_noclamp(nonce)
        challenge = sodium.crypto_core_ed25519_scalar_reduce(hashlib.sha512(commitment + public + message).digest())
        response = sodium.crypto_core_ed25519_scalar_add(
            nonce, sodium.crypto_core_ed25519_scalar_mul(challenge, blinded)
        )
        return commitment + response
