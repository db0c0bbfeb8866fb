"""The database key at rest: 32 random bytes, wrapped by a passphrase or by a secret file.

Owns: the wrap's format, Argon2id and its costs. Spec: docs/spec/e2ee.md section 11.
Never touches: files, the database.
"""

from __future__ import annotations

import unicodedata
from typing import Final

import nacl.bindings as sodium
from nacl.exceptions import CryptoError
from nacl.pwhash import argon2id

from covey_node.crypto.errors import WrapDamaged, WrongSecret
from covey_node.crypto.limits import (
    ARGON2_MAX_MEMORY_BYTES,
    ARGON2_MAX_OPERATIONS,
    ARGON2_MEMORY_BYTES,
    ARGON2_OPERATIONS,
)
from covey_node.crypto.primitives import KEY_BYTES, LABEL_SECRET_WRAP, VERSION, Rng, hkdf_sha512
from covey_node.crypto.reader import Reader

_MAGIC: Final = b"covey-key"
_BY_PASSPHRASE: Final = 1
_BY_SECRET: Final = 2
_SALT_BYTES: Final = 16
_NONCE_BYTES: Final = 24
_WRAPPED_BYTES: Final = KEY_BYTES + 16
_MIN_SECRET_BYTES: Final = 32


def new_database_key(rng: Rng) -> bytes:
    """Return 32 random bytes."""
    return rng(KEY_BYTES)


def wrap_with_passphrase(
    key: bytes,
    passphrase: str,
    rng: Rng,
    *,
    operations: int = ARGON2_OPERATIONS,
    memory_bytes: int = ARGON2_MEMORY_BYTES,
) -> bytes:
    """Return 107 bytes from which only the passphrase gets the key. Takes about 0.3 s and `memory_bytes`."""
    header = _MAGIC + bytes((VERSION, _BY_PASSPHRASE)) + operations.to_bytes(4, "big") + memory_bytes.to_bytes(4, "big")
    salt = rng(_SALT_BYTES)
    return _wrap(key, _from_passphrase(passphrase, salt, operations, memory_bytes), header + salt, rng)


def wrap_with_secret(key: bytes, secret: bytes, rng: Rng) -> bytes:
    """Return 99 bytes from which only the secret file's content (32 bytes or more) gets the key."""
    header = _MAGIC + bytes((VERSION, _BY_SECRET))
    salt = rng(_SALT_BYTES)
    return _wrap(key, _from_secret(secret, salt), header + salt, rng)


def needs_passphrase(wrapped: bytes) -> bool:
    """Say whether a wrap asks for a passphrase (else a secret file); `WrapDamaged`."""
    reader = _reader(wrapped)
    return reader.number(1) == _BY_PASSPHRASE


def unwrap(wrapped: bytes, *, passphrase: str | None = None, secret: bytes | None = None) -> bytes:
    """Return the 32-byte key; `WrongSecret` when what is given does not open it, `WrapDamaged` for another form."""
    reader = _reader(wrapped)
    kind = reader.number(1)
    if kind == _BY_PASSPHRASE:
        operations, memory_bytes = reader.count(4, ARGON2_MAX_OPERATIONS), reader.count(4, ARGON2_MAX_MEMORY_BYTES)
        salt = reader.take(_SALT_BYTES)
        if passphrase is None:
            msg = "the database key is wrapped by a passphrase, and none was given"
            raise WrongSecret(msg)
        if operations < 1 or memory_bytes < argon2id.MEMLIMIT_MIN:
            msg = "the wrap asks for less work than Argon2id allows"
            raise WrapDamaged(msg)
        wrapping_key = _from_passphrase(passphrase, salt, operations, memory_bytes)
    elif kind == _BY_SECRET:
        salt = reader.take(_SALT_BYTES)
        if secret is None:
            msg = "the database key is wrapped by a secret file, and none was given"
            raise WrongSecret(msg)
        wrapping_key = _from_secret(secret, salt)
    else:
        msg = f"wrap of kind {kind} is not known"
        raise WrapDamaged(msg)
    nonce, ciphertext = reader.take(_NONCE_BYTES), reader.take(_WRAPPED_BYTES)
    reader.end()
    header = wrapped[: len(wrapped) - _NONCE_BYTES - _WRAPPED_BYTES]
    try:
        return sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(ciphertext, header, nonce, wrapping_key)
    except CryptoError as exc:
        msg = "the passphrase or secret file does not open the database key"
        raise WrongSecret(msg) from exc


def _reader(wrapped: bytes) -> Reader:
    reader = Reader(wrapped, WrapDamaged)
    if reader.take(len(_MAGIC)) != _MAGIC:
        msg = "not a wrapped key of Covey's"
        raise WrapDamaged(msg)
    reader.expect(VERSION, "wrap version")
    return reader


def _wrap(key: bytes, wrapping_key: bytes, header: bytes, rng: Rng) -> bytes:
    nonce = rng(_NONCE_BYTES)
    return header + nonce + sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(key, header, nonce, wrapping_key)


def _from_passphrase(passphrase: str, salt: bytes, operations: int, memory_bytes: int) -> bytes:
    typed = unicodedata.normalize("NFC", passphrase).encode()
    return argon2id.kdf(KEY_BYTES, typed, salt, opslimit=operations, memlimit=memory_bytes)


def _from_secret(secret: bytes, salt: bytes) -> bytes:
    if len(secret) < _MIN_SECRET_BYTES:
        msg = f"the secret file holds {len(secret)} bytes; it needs {_MIN_SECRET_BYTES} random ones"
        raise WrongSecret(msg)
    return hkdf_sha512(salt=salt, secret=secret, info=LABEL_SECRET_WRAP, length=KEY_BYTES)
