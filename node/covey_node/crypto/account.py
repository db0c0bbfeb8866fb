"""Who somebody is: the account key, and the keys of one device.

Owns: `Account`, `DeviceKeys`, the public `Device`, and `LocalDevice` (a device with the list that names it).
Spec: docs/spec/e2ee.md section 4. Never touches: prekeys, sessions, files.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field

from covey_core.errors import ProtocolViolation
from covey_node.crypto.errors import StateDamaged
from covey_node.crypto.primitives import (
    KEY_BYTES,
    VERSION,
    Rng,
    check_ed25519,
    check_x25519,
    ed25519_public,
    sign,
    x25519_public,
)
from covey_node.crypto.reader import Reader

ENCODED_DEVICE_BYTES = 2 * KEY_BYTES + 8


@dataclass(frozen=True, slots=True)
class Account:
    """An account's Ed25519 key. `seed`: 32 secret bytes, only on the primary device and in the recovery kit."""

    seed: bytes = field(repr=False, compare=False)
    public_key: bytes

    @classmethod
    def generate(cls, rng: Rng) -> Account:
        """Return a new account."""
        return cls.from_seed(rng(KEY_BYTES))

    @classmethod
    def from_seed(cls, seed: bytes) -> Account:
        """Return the account of a stored 32-byte seed; `StateDamaged` for another length."""
        return cls(_secret(seed), ed25519_public(seed))

    def sign(self, context: bytes, body: bytes) -> bytes:
        """Return the account's 64-byte signature over context and body."""
        return sign(self.seed, context, body)


@dataclass(frozen=True, slots=True)
class Device:
    """What others know of a device. `ed25519` is its libp2p identity, `x25519` its PQXDH identity key."""

    ed25519: bytes
    x25519: bytes
    added_at: int  # Unix seconds

    def encode(self) -> bytes:
        """Return 72 bytes."""
        return self.ed25519 + self.x25519 + self.added_at.to_bytes(8, "big")

    @classmethod
    def read(cls, reader: Reader) -> Device:
        """Read 72 bytes; `KeyRefused` for keys of low order or not canonical."""
        ed25519, x25519 = check_ed25519(reader.take(KEY_BYTES)), check_x25519(reader.take(KEY_BYTES))
        return cls(ed25519, x25519, reader.number(8))


@dataclass(frozen=True, slots=True)
class DeviceKeys:
    """A device's long-term secrets, 32 bytes each: Ed25519 seed (also its libp2p identity) and X25519 secret."""

    ed25519_seed: bytes = field(repr=False, compare=False)
    x25519_secret: bytes = field(repr=False, compare=False)
    ed25519: bytes
    x25519: bytes

    @classmethod
    def generate(cls, rng: Rng) -> DeviceKeys:
        """Return the keys of a new device."""
        return cls.from_identity(rng(KEY_BYTES), rng)

    @classmethod
    def from_identity(cls, ed25519_seed: bytes, rng: Rng) -> DeviceKeys:
        """Return the keys of a new device whose libp2p identity exists already."""
        return cls._of(ed25519_seed, rng(KEY_BYTES))

    @classmethod
    def _of(cls, seed: bytes, secret: bytes) -> DeviceKeys:
        return cls(_secret(seed), _secret(secret), ed25519_public(seed), x25519_public(secret))

    def encode(self) -> bytes:
        """Return 65 secret bytes for the store."""
        return bytes((VERSION,)) + self.ed25519_seed + self.x25519_secret

    @classmethod
    def decode(cls, data: bytes) -> DeviceKeys:
        """Reverse `encode`; `StateDamaged`."""
        reader = Reader(data, StateDamaged)
        reader.expect(VERSION, "device key version")
        seed, secret = reader.take(KEY_BYTES), reader.take(KEY_BYTES)
        reader.end()
        return cls._of(seed, secret)

    def public(self, *, added_at: float) -> Device:
        """Return what a device list says of this device."""
        return Device(self.ed25519, self.x25519, int(added_at))

    def sign(self, context: bytes, body: bytes) -> bytes:
        """Return the device's 64-byte signature over context and body."""
        return sign(self.ed25519_seed, context, body)


def same_key(left: bytes, right: bytes) -> bool:
    """Compare two keys in constant time."""
    return hmac.compare_digest(left, right)


def _secret(value: bytes) -> bytes:
    if len(value) != KEY_BYTES:
        msg = f"secret of {len(value)} bytes where {KEY_BYTES} are due"
        raise StateDamaged(msg)
    return value


def account_key(value: bytes) -> bytes:
    """Return a peer's account key, checked; `ProtocolViolation` for another length, `KeyRefused` for a bad point."""
    if len(value) != KEY_BYTES:
        msg = f"account key of {len(value)} bytes"
        raise ProtocolViolation(msg)
    return check_ed25519(value)
