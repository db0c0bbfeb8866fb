"""People for the tests: accounts with one device each, made from a seed so that a failure can be repeated."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from covey_node import crypto

NOW = 1_800_000_000


class SeededRng:
    """Random bytes that are the same in every run: SHAKE-256 of the seed and a counter."""

    def __init__(self, seed: str) -> None:
        self._seed = seed.encode()
        self._drawn = 0

    def __call__(self, size: int) -> bytes:
        self._drawn += 1
        return hashlib.shake_256(self._seed + self._drawn.to_bytes(8, "big")).digest(size)


@dataclass
class Person:
    name: str
    rng: SeededRng = field(init=False)
    account: crypto.Account = field(init=False)
    local: crypto.LocalDevice = field(init=False)
    prekeys: crypto.Prekeys = field(init=False)

    def __post_init__(self) -> None:
        self.rng = SeededRng(self.name)
        self.account = crypto.Account.generate(self.rng)
        keys = crypto.DeviceKeys.generate(self.rng)
        self.local = crypto.LocalDevice(keys, crypto.DeviceList.first(self.account, keys, now=NOW))
        self.prekeys = crypto.Prekeys.generate(self.rng, now=NOW)

    def bundle(self, *, one_time: bool = False, now: float = NOW) -> crypto.Bundle:
        """Publish a bundle and read it back as a stranger would."""
        found = crypto.Bundle.decode(self.prekeys.bundle(self.local, now=now).encode())
        if not one_time:
            return found
        self.prekeys, (pair,) = self.prekeys.add_one_time(self.local, self.rng, now=now, count=1)
        return crypto.Bundle.decode(found.with_one_time(crypto.OneTimePrekey.decode(pair.encode())).encode())


def begin(
    alice: Person, bob: Person, text: bytes = b"hello", *, one_time: bool = False
) -> tuple[crypto.Session, bytes]:
    """Alice writes to Bob first."""
    return crypto.initiate(alice.local, bob.bundle(one_time=one_time), text, alice.rng, now=NOW)


def accept(bob: Person, envelope: bytes, *, now: float = NOW) -> crypto.Accepted:
    """Bob opens a first contact and keeps what it leaves of his prekeys."""
    accepted = crypto.unseal(bob.local, bob.prekeys, envelope).accept(bob.local, bob.prekeys, now=now)
    bob.prekeys = accepted.prekeys
    return accepted


def talk(alice: Person, bob: Person) -> tuple[crypto.Session, crypto.Session]:
    """Return both ends of a session in which each has written once."""
    hers, envelope = begin(alice, bob)
    his = accept(bob, envelope).session
    his, packet = his.encrypt(b"hello yourself", bob.rng)
    hers, _ = hers.decrypt(packet, now=NOW)
    return hers, his


def flipped(data: bytes, at: int, bit: int = 0) -> bytes:
    """Return the bytes with one bit changed."""
    return data[:at] + bytes((data[at] ^ (1 << bit),)) + data[at + 1 :]
