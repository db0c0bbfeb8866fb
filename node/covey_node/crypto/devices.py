"""Which devices belong to an account: a list that the account signs, numbered and chained.

Owns: `DeviceList`, its encoding and signature, and whether one list may come after another (`Succession`).
Spec: docs/spec/e2ee.md section 4.2. Never touches: who is trusted, what the user is shown.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from enum import Enum

from covey_core.errors import ProtocolViolation
from covey_node.crypto.account import Account, Device, DeviceKeys, account_key, same_key
from covey_node.crypto.limits import MAX_DEVICES, MAX_REVOCATIONS
from covey_node.crypto.primitives import KEY_BYTES, SIGN_DEVICE_LIST, SIGNATURE_BYTES, VERSION, verify
from covey_node.crypto.reader import Reader

NO_PREVIOUS = bytes(32)


class Succession(Enum):
    """How a list relates to the one known before."""

    SAME = "same"
    NEXT = "next"  # the direct successor, chained by hash
    LATER = "later"  # newer, but lists between them were not seen
    OLDER = "older"  # refuse: an old state shown again
    FORKED = "forked"  # refuse and tell the user: two lists with one number, a broken chain, or a device come back


@dataclass(frozen=True, slots=True)
class Revocation:
    """A device that was taken off the list, for good."""

    ed25519: bytes
    revoked_at: int  # Unix seconds


@dataclass(frozen=True, slots=True)
class DeviceList:
    """An account's devices. `number` counts from 1; `previous` is the hash of the list before, zeros for the first."""

    account: bytes
    number: int
    previous: bytes
    issued_at: int
    devices: tuple[Device, ...]
    revoked: tuple[Revocation, ...]
    signature: bytes

    @classmethod
    def first(cls, account: Account, device: DeviceKeys, *, now: float) -> DeviceList:
        """Return list number 1, with one device."""
        draft = cls(account.public_key, 1, NO_PREVIOUS, int(now), (device.public(added_at=now),), (), b"")
        return draft._signed(account)

    def adding(self, account: Account, device: Device, *, now: float) -> DeviceList:
        """Return the next list, with one device more."""
        return self._next((*self.devices, device), self.revoked, now)._signed(account)  # noqa: SLF001 - of this very class

    def revoking(self, account: Account, ed25519: bytes, *, now: float) -> DeviceList:
        """Return the next list, with this device revoked."""
        left = tuple(device for device in self.devices if device.ed25519 != ed25519)
        revoked = (*self.revoked, Revocation(ed25519, int(now)))
        return self._next(left, revoked, now)._signed(account)  # noqa: SLF001 - of this very class

    def _next(self, devices: tuple[Device, ...], revoked: tuple[Revocation, ...], now: float) -> DeviceList:
        # Never dated before the list it follows: a clock that was set back must not look like a fork.
        issued_at = max(int(now), self.issued_at)
        return DeviceList(self.account, self.number + 1, self.hash, issued_at, devices, revoked, b"")

    def _signed(self, account: Account) -> DeviceList:
        self.check()
        return replace(self, account=account.public_key, signature=account.sign(SIGN_DEVICE_LIST, self.body()))

    def body(self) -> bytes:
        """Return what the account signs (4.2)."""
        return b"".join(
            (
                bytes((VERSION,)),
                self.account,
                self.number.to_bytes(4, "big"),
                self.previous,
                self.issued_at.to_bytes(8, "big"),
                bytes((len(self.devices), len(self.revoked))),
                *(device.encode() for device in self.devices),
                *(gone.ed25519 + gone.revoked_at.to_bytes(8, "big") for gone in self.revoked),
            )
        )

    def encode(self) -> bytes:
        """Return body and signature: 143 bytes, 72 more a device, 40 more a revocation."""
        return self.body() + self.signature

    @classmethod
    def decode(cls, data: bytes) -> DeviceList:
        """Read a list and check its keys, its order and the account's signature; `ProtocolViolation`."""
        reader = Reader(data)
        reader.expect(VERSION, "device list version")
        account = account_key(reader.take(KEY_BYTES))
        number, previous, issued_at = reader.number(4), reader.take(32), reader.number(8)
        device_count, revoked_count = reader.count(1, MAX_DEVICES), reader.count(1, MAX_REVOCATIONS)
        signed = data[: len(data) - SIGNATURE_BYTES]
        verify(account, SIGN_DEVICE_LIST, signed, data[len(signed) :])
        devices = tuple(Device.read(reader) for _ in range(device_count))
        revoked = tuple(Revocation(reader.take(KEY_BYTES), reader.number(8)) for _ in range(revoked_count))
        found = cls(account, number, previous, issued_at, devices, revoked, reader.take(SIGNATURE_BYTES))
        reader.end()
        found.check()
        return found

    def check(self) -> None:
        """Check the rules of 4.2 that do not need a signature; `ProtocolViolation`."""
        keys = [device.ed25519 for device in self.devices] + [gone.ed25519 for gone in self.revoked]
        if not 1 <= len(self.devices) <= MAX_DEVICES or len(self.revoked) > MAX_REVOCATIONS:
            msg = f"device list of {len(self.devices)} devices and {len(self.revoked)} revocations"
            raise ProtocolViolation(msg)
        if len(set(keys)) != len(keys) or len({device.x25519 for device in self.devices}) != len(self.devices):
            msg = "device list names a key twice"
            raise ProtocolViolation(msg)
        if self.number < 1 or (self.number == 1) != (self.previous == NO_PREVIOUS):
            msg = f"device list number {self.number} does not go with its previous hash"
            raise ProtocolViolation(msg)

    @property
    def hash(self) -> bytes:
        """SHA-256 of the whole encoding: what the next list carries as `previous`."""
        return hashlib.sha256(self.encode()).digest()

    def find(self, ed25519: bytes) -> Device:
        """Return the device with this key; `ProtocolViolation` when the list does not name it, or revokes it."""
        for device in self.devices:
            if same_key(device.ed25519, ed25519):
                return device
        msg = "device is not in its account's list"
        raise ProtocolViolation(msg)

    def after(self, known: DeviceList) -> Succession:
        """Say how this list relates to the one known before; only SAME, NEXT and LATER may replace it."""
        if not same_key(self.account, known.account):
            return Succession.FORKED
        if self.number < known.number:
            return Succession.OLDER
        if self.number == known.number:
            return Succession.SAME if same_key(self.hash, known.hash) else Succession.FORKED
        if not set(known.revoked) <= set(self.revoked) or self.issued_at < known.issued_at:
            return Succession.FORKED
        if self.number > known.number + 1:
            return Succession.LATER
        return Succession.NEXT if same_key(self.previous, known.hash) else Succession.FORKED


@dataclass(frozen=True, slots=True)
class LocalDevice:
    """This device and the list of its account that names it."""

    keys: DeviceKeys
    devices: DeviceList

    def __post_init__(self) -> None:
        """Check that the list names the device."""
        self.devices.find(self.keys.ed25519)

    @property
    def account(self) -> bytes:
        """The account's public key, 32 bytes."""
        return self.devices.account
