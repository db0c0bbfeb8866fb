"""The private halves of a device's prekeys: made, rotated weekly, deleted in time.

Owns: `Prekeys` (generations and one-time pairs) and its stored form. Spec: docs/spec/e2ee.md section 5.4.
Never touches: sessions, storage, the clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from covey_node.crypto.bundle import NO_ONE_TIME, Bundle, OneTimePrekey
from covey_node.crypto.devices import LocalDevice
from covey_node.crypto.errors import StateDamaged, Undecryptable
from covey_node.crypto.limits import (
    CLOCK_SKEW_SECONDS,
    MAX_GENERATIONS,
    MAX_ONE_TIME_KEYS,
    RETENTION_SECONDS,
    ROTATION_SECONDS,
    SIGNED_AHEAD_SECONDS,
)
from covey_node.crypto.primitives import (
    KEM_SEED_BYTES,
    KEY_BYTES,
    SIGN_ONE_TIME,
    SIGN_PREKEYS,
    VERSION,
    KemPair,
    Rng,
    x25519_public,
)
from covey_node.crypto.reader import Reader
from covey_node.crypto.seal import SEAL_SEED_BYTES, SealPair


@dataclass(frozen=True, slots=True)
class Generation:
    """One week's signed prekey, last-resort KEM key and seal key, under one id."""

    id: int
    created_at: int
    published_until: int  # the last time at which a bundle with it may be handed out: a week, or more if signed ahead
    signed_prekey: bytes = field(repr=False, compare=False)
    last_resort: KemPair = field(repr=False, compare=False)
    seal: SealPair = field(repr=False, compare=False)

    @property
    def deleted_at(self) -> int:
        """When the private halves go: 45 days after the last publication, so 82 days after `created_at` at most."""
        return self.published_until + RETENTION_SECONDS


@dataclass(frozen=True, slots=True)
class OneTimePair:
    """The private half of a one-time pair."""

    id: int
    created_at: int
    x25519_secret: bytes = field(repr=False, compare=False)
    kem: KemPair = field(repr=False, compare=False)

    def public(self, local: LocalDevice) -> OneTimePrekey:
        """Return the public half, signed by the device."""
        draft = OneTimePrekey(self.id, x25519_public(self.x25519_secret), self.kem.public, b"")
        return replace(draft, signature=local.keys.sign(SIGN_ONE_TIME, local.keys.ed25519 + draft.body()))

    def encode(self) -> bytes:
        """Return the secret stored form (5.4), 108 bytes."""
        return self.id.to_bytes(4, "big") + self.created_at.to_bytes(8, "big") + self.x25519_secret + self.kem.seed

    @classmethod
    def read(cls, reader: Reader) -> OneTimePair:
        """Read one."""
        return cls(reader.number(4), reader.number(8), reader.take(KEY_BYTES), KemPair(reader.take(KEM_SEED_BYTES)))

    @classmethod
    def decode(cls, data: bytes) -> OneTimePair:
        """Reverse `encode`; `StateDamaged`."""
        reader = Reader(data, StateDamaged)
        found = cls.read(reader)
        reader.end()
        return found


def new_one_time_pairs(rng: Rng, *, now: float, count: int, used: Iterable[int]) -> tuple[OneTimePair, ...]:
    """Return `count` new pairs with random ids that are not among `used`: a relay's share, made in one go.

    They are kept outside of `Prekeys`, share by share: who empties one share, or asks for pairs over a direct stream,
    pushes out no pair of another. `Prekeys.holding` brings one back when an envelope names it.
    """
    known = set(used)
    pairs = []
    for _ in range(count):
        pair = OneTimePair(_new_id(rng, known), int(now), rng(KEY_BYTES), KemPair.generate(rng))
        known.add(pair.id)
        pairs.append(pair)
    return tuple(pairs)


@dataclass(frozen=True, slots=True)
class Prekeys:
    """A device's private prekeys; every change returns a new value. The last generation is the current one."""

    generations: tuple[Generation, ...]
    one_time: tuple[OneTimePair, ...] = ()

    @classmethod
    def generate(cls, rng: Rng, *, now: float) -> Prekeys:
        """Return the prekeys of a new device."""
        return cls((_new_generation(rng, now, ()),))

    def rotate(self, rng: Rng, *, now: float) -> Prekeys:
        """Return what should be held now: a new generation when a week is over, without what has had its time.

        Returns `self` when nothing is due. To be called at start and daily.
        """
        anchored = tuple(_anchored(each, now) for each in self.generations)
        kept = tuple(each for each in anchored if now < each.deleted_at)
        one_time = tuple(each for each in self.one_time if now < each.created_at + RETENTION_SECONDS + ROTATION_SECONDS)
        if now >= anchored[-1].created_at + ROTATION_SECONDS:
            kept = (*kept, _new_generation(rng, now, kept))[-MAX_GENERATIONS:]
        if len(one_time) == len(self.one_time) and kept == self.generations:
            return self
        return Prekeys(kept, one_time)

    def bundle(self, local: LocalDevice, *, now: float) -> Bundle:
        """Return the current generation's public half, signed; usable by others for 45 days from `now`.

        For less when `rotate` is overdue: a bundle never outlives its private half.
        """
        current = self.generations[-1]
        draft = Bundle(
            devices=local.devices,
            ed25519=local.keys.ed25519,
            issued_at=int(now),
            expires_at=min(int(now) + RETENTION_SECONDS, current.deleted_at),
            generation=current.id,
            signed_prekey=x25519_public(current.signed_prekey),
            last_resort=current.last_resort.public,
            seal_key=current.seal.public,
            signature=b"",
        )
        return replace(draft, signature=local.keys.sign(SIGN_PREKEYS, draft.body()))

    def signed_ahead(self, *, until: float) -> Prekeys:
        """Return the prekeys with the current generation kept for bundles that others publish until then.

        30 days after its week at most: what is signed for later still expires with the private half.
        """
        current = self.generations[-1]
        latest = min(int(until), current.created_at + ROTATION_SECONDS + SIGNED_AHEAD_SECONDS)
        later = replace(current, published_until=max(current.published_until, latest))
        return replace(self, generations=(*self.generations[:-1], later))

    def add_one_time(
        self, local: LocalDevice, rng: Rng, *, now: float, count: int
    ) -> tuple[Prekeys, tuple[OneTimePrekey, ...]]:
        """Return the prekeys with `count` new one-time pairs, the oldest making room, and their public halves."""
        pairs = new_one_time_pairs(rng, now=now, count=count, used=(each.id for each in self.one_time))
        one_time = (*self.one_time, *pairs)[-MAX_ONE_TIME_KEYS:]
        return replace(self, one_time=one_time), tuple(pair.public(local) for pair in pairs)

    def holding(self, pair: OneTimePair) -> Prekeys:
        """Return the prekeys with a pair of a relay's share, for one envelope; the caller deletes it where it lies."""
        return replace(self, one_time=(*self.without_one_time(pair.id).one_time, pair))

    def generation(self, number: int) -> Generation:
        """Return a generation by id; `Undecryptable` when it is gone or was never ours."""
        for each in self.generations:
            if each.id == number:
                return each
        msg = f"prekey generation {number} is not held"
        raise Undecryptable(msg)

    def one_time_pair(self, number: int) -> OneTimePair | None:
        """Return a one-time pair by id, None for id 0; `Undecryptable` when it is used up or was never ours."""
        if number == NO_ONE_TIME:
            return None
        for each in self.one_time:
            if each.id == number:
                return each
        msg = f"one-time prekey {number} is not held"
        raise Undecryptable(msg)

    def without_one_time(self, number: int) -> Prekeys:
        """Return the prekeys without a one-time pair that was used."""
        if number == NO_ONE_TIME:
            return self
        return replace(self, one_time=tuple(each for each in self.one_time if each.id != number))

    def encode(self) -> bytes:
        """Return the secret stored form (5.4)."""
        parts = [bytes((VERSION,)), len(self.generations).to_bytes(2, "big"), len(self.one_time).to_bytes(2, "big")]
        for each in self.generations:
            parts += [
                each.id.to_bytes(4, "big"),
                each.created_at.to_bytes(8, "big"),
            ]
            parts += [each.published_until.to_bytes(8, "big")]
            parts += [each.signed_prekey, each.last_resort.seed, each.seal.seed]
        parts += [pair.encode() for pair in self.one_time]
        return b"".join(parts)

    @classmethod
    def decode(cls, data: bytes) -> Prekeys:
        """Reverse `encode`; `StateDamaged`."""
        reader = Reader(data, StateDamaged)
        reader.expect(VERSION, "prekey store version")
        generations, pairs = reader.count(2, MAX_GENERATIONS), reader.count(2, MAX_ONE_TIME_KEYS)
        found = cls(
            tuple(_read_generation(reader) for _ in range(generations)),
            tuple(OneTimePair.read(reader) for _ in range(pairs)),
        )
        reader.end()
        if not found.generations:
            msg = "prekey store without a generation"
            raise StateDamaged(msg)
        return found


def _read_generation(reader: Reader) -> Generation:
    return Generation(
        id=reader.number(4),
        created_at=reader.number(8),
        published_until=reader.number(8),
        signed_prekey=reader.take(KEY_BYTES),
        last_resort=KemPair(reader.take(KEM_SEED_BYTES)),
        seal=SealPair(reader.take(SEAL_SEED_BYTES)),
    )


def _new_generation(rng: Rng, now: float, others: tuple[Generation, ...]) -> Generation:
    number = _new_id(rng, {each.id for each in others})
    week = int(now) + ROTATION_SECONDS
    return Generation(number, int(now), week, rng(KEY_BYTES), KemPair.generate(rng), SealPair.generate(rng))


def _anchored(generation: Generation, now: float) -> Generation:
    """Return a generation that a clock running ahead had dated in the future as if its week were just over."""
    if generation.created_at <= now + CLOCK_SKEW_SECONDS:
        return generation
    return replace(generation, created_at=max(int(now) - ROTATION_SECONDS, 0), published_until=int(now))


def _new_id(rng: Rng, used: set[int]) -> int:
    """Return a random id: a counter would show relays an account's age and how many write to it."""
    while True:
        number = int.from_bytes(rng(4), "big")
        if number != 0 and number not in used:
            return number
