"""The primitives of suite 1, each behind one small function, and the labels that keep their uses apart.

Owns: X25519, Ed25519, ML-KEM-768, ChaCha20-Poly1305, HKDF-SHA-512, keyed BLAKE2b, and all labels.
Spec: docs/spec/e2ee.md section 3. Never touches: protocol state. Comes from PyNaCl, pyca cryptography and hashlib only.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Final

import nacl.bindings as sodium
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from nacl.exceptions import CryptoError

from covey_node.crypto.errors import KeyRefused, SignatureInvalid, Undecryptable

Rng = Callable[[int], bytes]
"""Gives that many random bytes; `os.urandom` in production."""

SUITE: Final = 1
VERSION: Final = 1

KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
KEM_PUBLIC_BYTES: Final = 1_184
KEM_CIPHERTEXT_BYTES: Final = 1_088
KEM_SEED_BYTES: Final = 64

# Signature contexts (docs/spec/e2ee.md 3.4). A signed message is: length of the label (1 byte), label, body.
SIGN_DEVICE_LIST: Final = b"covey device list 1"
SIGN_PREKEYS: Final = b"covey prekeys 1"
SIGN_ONE_TIME: Final = b"covey one-time prekey 1"
# HKDF and hash labels (3.5).
LABEL_SETUP: Final = b"Covey_CURVE25519_SHA-512_ML-KEM-768"
LABEL_ASSOCIATED_DATA: Final = b"covey associated data 1"
LABEL_BASE_KEY: Final = b"covey base key 1"
LABEL_ROOT_CONTEXT: Final = b"covey root context 1"
LABEL_FIRST_CONTACT: Final = b"covey first contact 1"
LABEL_RECORD_BLIND: Final = b"covey record blind 1"
LABEL_RECORD_KEY: Final = b"covey record key 1"
LABEL_RECORD_NONCE: Final = b"covey record nonce 1"
LABEL_SECRET_WRAP: Final = b"covey database key 1"
# BLAKE2b personalisations, 16 bytes at most, padded with zeros by the hash (3.6).
PERSON_CHAIN: Final = b"covey chain 1"
PERSON_ROOT: Final = b"covey root 1"
PERSON_EXPAND: Final = b"covey expand 1"

# A fixed scalar: multiplying by it gives zero for exactly the points of low order, and leaks nothing.
_PROBE_SCALAR: Final = b"\x08" + bytes(30) + b"\x40"


def x25519_public(secret: bytes) -> bytes:
    """Return the 32-byte public key of a 32-byte secret (RFC 7748)."""
    return sodium.crypto_scalarmult_base(secret)


def x25519_shared(secret: bytes, public: bytes) -> bytes:
    """Return the 32-byte shared secret; `KeyRefused` when it would be zero (low-order point, RFC 7748 6.1)."""
    if len(public) != KEY_BYTES or len(secret) != KEY_BYTES:  # PyNaCl 1.6 hands pointers on without looking
        msg = f"X25519 key of {len(public)} bytes"
        raise KeyRefused(msg)
    try:
        return sodium.crypto_scalarmult(secret, public)
    except CryptoError as exc:
        msg = "X25519 key is of low order"
        raise KeyRefused(msg) from exc


def check_x25519(public: bytes) -> bytes:
    """Return the key unless it is of low order or not 32 bytes: `KeyRefused`."""
    x25519_shared(_PROBE_SCALAR, public)
    return public


def ed25519_public(seed: bytes) -> bytes:
    """Return the 32-byte public key of a 32-byte seed (RFC 8032)."""
    return sodium.crypto_sign_seed_keypair(seed)[0]


def check_ed25519(public: bytes) -> bytes:
    """Return the key unless it is not canonical, of small order or outside the prime-order group: `KeyRefused`."""
    if len(public) != KEY_BYTES or not sodium.crypto_core_ed25519_is_valid_point(public):
        msg = "Ed25519 key is not a canonical point of the prime-order group"
        raise KeyRefused(msg)
    return public


def sign(seed: bytes, context: bytes, body: bytes) -> bytes:
    """Return the 64-byte Ed25519 signature over the context and the body."""
    public, secret = sodium.crypto_sign_seed_keypair(seed)
    del public
    return sodium.crypto_sign(_framed(context, body), secret)[:SIGNATURE_BYTES]


def verify(public: bytes, context: bytes, body: bytes, signature: bytes) -> None:
    """Check a signature of `sign`; `SignatureInvalid`. Non-canonical and small-order inputs fail (libsodium)."""
    if len(public) != KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        msg = f"signature of {len(signature)} bytes, key of {len(public)}"
        raise SignatureInvalid(msg)
    try:
        sodium.crypto_sign_open(signature + _framed(context, body), public)
    except CryptoError as exc:
        msg = f"signature for {context.decode()!r} does not verify"
        raise SignatureInvalid(msg) from exc


def _framed(context: bytes, body: bytes) -> bytes:
    return bytes((len(context),)) + context + body


class KemPublic:
    """An ML-KEM-768 encapsulation key, checked as FIPS 203 7.2 asks; parsed once and kept."""

    __slots__ = ("_key", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self._key: MLKEM768PublicKey | None = self._parsed()

    @classmethod
    def checked_before(cls, raw: bytes) -> KemPublic:
        """Return a key of our own store, which was checked when it came; parsed only when it is used."""
        found = cls.__new__(cls)
        found.raw = raw
        found._key = None  # noqa: SLF001 - of this very class
        return found

    def encapsulate(self) -> tuple[bytes, bytes]:
        """Return a fresh (32-byte shared secret, 1,088-byte ciphertext). The randomness is the library's own."""
        if self._key is None:
            self._key = self._parsed()
        return self._key.encapsulate()

    def _parsed(self) -> MLKEM768PublicKey:
        try:
            return MLKEM768PublicKey.from_public_bytes(self.raw)
        except ValueError as exc:
            msg = "ML-KEM-768 public key is not valid"
            raise KeyRefused(msg) from exc


class KemPair:
    """An ML-KEM-768 key pair from its 64-byte seed (FIPS 203 d and z); expanded on first use, then kept."""

    __slots__ = ("_key", "_public", "seed")

    def __init__(self, seed: bytes, public: bytes | None = None) -> None:
        self.seed = seed
        self._key: MLKEM768PrivateKey | None = None
        self._public = public

    def __repr__(self) -> str:
        return "KemPair(...)"

    @classmethod
    def generate(cls, rng: Rng) -> KemPair:
        """Return a new pair from 64 random bytes."""
        return cls(rng(KEM_SEED_BYTES))

    @property
    def public(self) -> bytes:
        """The 1,184-byte public key."""
        if self._public is None:
            self._public = self._private().public_key().public_bytes_raw()
        return self._public

    def decapsulate(self, ciphertext: bytes) -> bytes:
        """Return the 32-byte shared secret; a forged ciphertext gives another one (implicit rejection)."""
        return self._private().decapsulate(ciphertext)

    def _private(self) -> MLKEM768PrivateKey:
        if self._key is None:
            self._key = MLKEM768PrivateKey.from_seed_bytes(self.seed)
        return self._key


def seal(key: bytes, nonce: bytes, plaintext: bytes, associated_data: bytes) -> bytes:
    """ChaCha20-Poly1305 (RFC 8439): 32-byte key, 12-byte nonce; the 16-byte tag comes last."""
    return ChaCha20Poly1305(key).encrypt(nonce, plaintext, associated_data)


def open_sealed(key: bytes, nonce: bytes, ciphertext: bytes, associated_data: bytes) -> bytes:
    """Reverse `seal`; `Undecryptable` when anything differs."""
    try:
        return ChaCha20Poly1305(key).decrypt(nonce, ciphertext, associated_data)
    except InvalidTag as exc:
        msg = "ciphertext does not authenticate"
        raise Undecryptable(msg) from exc


def settle_registers() -> None:
    """Leave AVX-512 state behind: to be called after a run of `seal` and `open_sealed`.

    OpenSSL's ChaCha20-Poly1305 returns with the upper halves of the vector registers in use on CPUs with AVX-512, and
    then everything written for SSE (X25519, ML-KEM) takes half as long again; its SHA-512 clears them. Measured with
    OpenSSL 4.0 on an EPYC: a ratchet step of 230 us takes 340 us without this call, which costs 0.5 us.
    """
    hashlib.sha512(b"").digest()


def hkdf_sha512(*, salt: bytes, secret: bytes, info: bytes, length: int) -> bytes:
    """HKDF-SHA-512 (RFC 5869)."""
    pseudorandom_key = hmac.digest(salt, secret, "sha512")
    out, block = b"", b""
    while len(out) < length:
        block = hmac.digest(pseudorandom_key, block + info + bytes((len(out) // 64 + 1,)), "sha512")
        out += block
    return out[:length]


def chain_step(chain_key: bytes) -> tuple[bytes, bytes]:
    """Return (next chain key, message key), 32 bytes each: the two halves of one keyed BLAKE2b-512 of nothing."""
    both = hashlib.blake2b(key=chain_key, person=PERSON_CHAIN).digest()
    return both[:32], both[32:]


def root_step(root_key: bytes, secrets: bytes) -> tuple[bytes, bytes, bytes]:
    """Return (root key 32, chain key 32, next header keys 64) from the old root key and what the step agreed on."""
    extracted = hashlib.blake2b(secrets, key=root_key, person=PERSON_ROOT).digest()
    first = hashlib.blake2b(b"\x01", key=extracted, person=PERSON_EXPAND).digest()
    return first[:32], first[32:], hashlib.blake2b(b"\x02", key=extracted, person=PERSON_EXPAND).digest()
