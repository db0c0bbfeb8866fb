"""What others need to write to a device first: its public prekeys, signed.

Owns: `Bundle` and `OneTimePrekey`, their encodings, signatures and times. Spec: docs/spec/e2ee.md section 5.
Never touches: private halves (prekeys.py), sessions, the clock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from covey_core.errors import ProtocolViolation
from covey_node.crypto.account import Device, same_key
from covey_node.crypto.devices import DeviceList
from covey_node.crypto.errors import PrekeysExpired
from covey_node.crypto.limits import CLOCK_SKEW_SECONDS, RETENTION_SECONDS
from covey_node.crypto.primitives import (
    KEM_PUBLIC_BYTES,
    KEY_BYTES,
    SIGN_ONE_TIME,
    SIGN_PREKEYS,
    SIGNATURE_BYTES,
    VERSION,
    KemPublic,
    check_x25519,
    verify,
)
from covey_node.crypto.reader import Reader
from covey_node.crypto.seal import SEAL_PUBLIC_BYTES, check_seal_key

NO_ONE_TIME: Final = 0


@dataclass(frozen=True, slots=True)
class OneTimePrekey:
    """A pair of keys that a relay hands out once. `id` is 1 or more; signed by the device."""

    id: int
    x25519: bytes
    kem: bytes
    signature: bytes

    def body(self) -> bytes:
        """Return the 1,220 bytes that the device signs after its own key (5.2)."""
        return self.id.to_bytes(4, "big") + self.x25519 + self.kem

    def encode(self) -> bytes:
        """Return 1,284 bytes."""
        return self.body() + self.signature

    @classmethod
    def read(cls, reader: Reader) -> OneTimePrekey:
        """Read one, unverified."""
        return cls(
            reader.number(4), reader.take(KEY_BYTES), reader.take(KEM_PUBLIC_BYTES), reader.take(SIGNATURE_BYTES)
        )

    @classmethod
    def decode(cls, data: bytes) -> OneTimePrekey:
        """Reverse `encode`, unverified: `Bundle.with_one_time` verifies. `ProtocolViolation`."""
        reader = Reader(data)
        found = cls.read(reader)
        reader.end()
        return found


@dataclass(frozen=True, slots=True)
class Bundle:
    """A device's public prekeys with the list that names the device; what `decode` returns is verified.

    `generation` (1 to 2^32 - 1) names signed prekey, last-resort KEM key and seal key together.
    """

    devices: DeviceList
    ed25519: bytes
    issued_at: int
    expires_at: int
    generation: int
    signed_prekey: bytes
    last_resort: bytes
    seal_key: bytes
    signature: bytes
    one_time: OneTimePrekey | None = None

    @property
    def account(self) -> bytes:
        """The account's public key, 32 bytes."""
        return self.devices.account

    @property
    def device(self) -> Device:
        """The device as its account's list gives it."""
        return self.devices.find(self.ed25519)

    def body(self) -> bytes:
        """Return what the device signs (5.1), 2,517 bytes."""
        return b"".join(
            (
                bytes((VERSION,)),
                self.devices.account,
                self.ed25519,
                self.issued_at.to_bytes(8, "big"),
                self.expires_at.to_bytes(8, "big"),
                self.generation.to_bytes(4, "big"),
                self.signed_prekey,
                self.last_resort,
                self.seal_key,
            )
        )

    def encode(self) -> bytes:
        """Return the bundle: device list with its length (2 bytes), body, signature, flag, one-time pair if any."""
        devices = self.devices.encode()
        extra = b"\x00" if self.one_time is None else b"\x01" + self.one_time.encode()
        return len(devices).to_bytes(2, "big") + devices + self.body() + self.signature + extra

    @classmethod
    def decode(cls, data: bytes) -> Bundle:
        """Read a bundle and verify both signatures and every key; `ProtocolViolation`."""
        reader = Reader(data)
        devices = DeviceList.decode(reader.take(reader.number(2)))
        reader.expect(VERSION, "prekey bundle version")
        account = reader.take(KEY_BYTES)
        found = cls(
            devices=devices,
            ed25519=reader.take(KEY_BYTES),
            issued_at=reader.number(8),
            expires_at=reader.number(8),
            generation=reader.number(4),
            signed_prekey=reader.take(KEY_BYTES),
            last_resort=reader.take(KEM_PUBLIC_BYTES),
            seal_key=reader.take(SEAL_PUBLIC_BYTES),
            signature=reader.take(SIGNATURE_BYTES),
        )
        one_time = OneTimePrekey.read(reader) if reader.flag() else None
        reader.end()
        if not same_key(account, devices.account) or found.generation == 0:
            msg = "prekey bundle names another account, or generation 0"
            raise ProtocolViolation(msg)
        devices.find(found.ed25519)
        verify(found.ed25519, SIGN_PREKEYS, found.body(), found.signature)
        check_x25519(found.signed_prekey)
        KemPublic(found.last_resort)
        check_seal_key(found.seal_key)
        return found if one_time is None else found.with_one_time(one_time)

    def with_one_time(self, one_time: OneTimePrekey) -> Bundle:
        """Return the bundle with a one-time pair, verified; `ProtocolViolation`."""
        verify(self.ed25519, SIGN_ONE_TIME, self.ed25519 + one_time.body(), one_time.signature)
        check_x25519(one_time.x25519)
        KemPublic(one_time.kem)
        if one_time.id == NO_ONE_TIME:
            msg = "one-time prekey 0"
            raise ProtocolViolation(msg)
        return replace(self, one_time=one_time)

    def verify(self, *, now: float, account: bytes) -> None:
        """Check that the bundle is of this account and of this time; `PrekeysExpired`, `ProtocolViolation`."""
        if not same_key(self.devices.account, account):
            msg = "prekey bundle is of another account"
            raise ProtocolViolation(msg)
        latest = min(self.expires_at, self.issued_at + RETENTION_SECONDS)
        if not self.issued_at - CLOCK_SKEW_SECONDS <= now < latest:
            msg = f"prekey bundle is valid from {self.issued_at} to {latest}, and it is {int(now)}"
            raise PrekeysExpired(msg)
