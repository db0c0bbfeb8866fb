"""Message keys of packets that have not come yet: few, and not for long.

Owns: `SkippedKeys`, bounded in keys, chains and age. Spec: Signal Double Ratchet 2.6 and 4; docs/spec/e2ee.md 8.5.
Never touches: deriving keys, decrypting, the clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from covey_node.crypto.errors import StateDamaged
from covey_node.crypto.limits import MAX_OLD_HEADER_KEYS, MAX_STORED_KEYS, SKIPPED_KEY_SECONDS
from covey_node.crypto.primitives import KEY_BYTES
from covey_node.crypto.reader import Reader


@dataclass(frozen=True, slots=True)
class SkippedChain:
    """One receiving chain's waiting keys: number in the chain -> (expires at, Unix seconds; message key, 32 bytes)."""

    header_key: bytes = field(repr=False)
    keys: Mapping[int, tuple[int, bytes]] = field(repr=False)


@dataclass(frozen=True, slots=True)
class SkippedKeys:
    """All waiting keys of a session, oldest chain first. Every change returns a new value."""

    chains: tuple[SkippedChain, ...] = ()

    def __len__(self) -> int:
        """Return how many message keys wait."""
        return sum(len(chain.keys) for chain in self.chains)

    def adding(self, header_key: bytes, start: int, keys: list[bytes], *, now: float) -> SkippedKeys:
        """Return the store with the keys of packets `start`, `start + 1`, ... of the chain with this header key."""
        if not keys:
            return self
        expires = int(now) + SKIPPED_KEY_SECONDS
        fresh = {start + index: (expires, key) for index, key in enumerate(keys)}
        for index, chain in enumerate(self.chains):
            if chain.header_key == header_key:
                grown = SkippedChain(header_key, {**chain.keys, **fresh})
                return SkippedKeys(_bounded((*self.chains[:index], grown, *self.chains[index + 1 :])))
        return SkippedKeys(_bounded((*self.chains, SkippedChain(header_key, fresh))))

    def without(self, header_key: bytes, number: int) -> SkippedKeys:
        """Return the store without one key, and without its chain when that was the last."""
        chains = []
        for chain in self.chains:
            if chain.header_key != header_key:
                chains.append(chain)
            elif len(chain.keys) > 1:
                left = dict(chain.keys)
                del left[number]
                chains.append(SkippedChain(header_key, left))
        return SkippedKeys(tuple(chains))

    def retiring(self, current: bytes) -> SkippedKeys:
        """Return the store with at most 5 chains besides the one whose header key is `current`."""
        old = [chain for chain in self.chains if chain.header_key != current]
        if len(old) <= MAX_OLD_HEADER_KEYS:
            return self
        gone = {chain.header_key for chain in old[: len(old) - MAX_OLD_HEADER_KEYS]}
        return SkippedKeys(tuple(chain for chain in self.chains if chain.header_key not in gone))

    def aged(self, *, now: float) -> SkippedKeys:
        """Return the store without keys that have had their time. Keys lie in the order in which they were stored."""
        if all(next(iter(chain.keys.values()))[0] > now for chain in self.chains):
            return self
        chains = []
        for chain in self.chains:
            left = {number: entry for number, entry in chain.keys.items() if entry[0] > now}
            if left:
                chains.append(SkippedChain(chain.header_key, left))
        return SkippedKeys(tuple(chains))

    def encode(self) -> bytes:
        """Return the secret stored form (8.7): 1 byte, then 34 bytes a chain and 44 bytes a key."""
        parts = [bytes((len(self.chains),))]
        for chain in self.chains:
            parts += [chain.header_key, len(chain.keys).to_bytes(2, "big")]
            parts += [n.to_bytes(4, "big") + at.to_bytes(8, "big") + key for n, (at, key) in chain.keys.items()]
        return b"".join(parts)

    @classmethod
    def read(cls, reader: Reader) -> SkippedKeys:
        """Reverse `encode`; `StateDamaged`."""
        chains = []
        for _ in range(reader.count(1, MAX_OLD_HEADER_KEYS + 1)):
            header_key, count = reader.take(KEY_BYTES), reader.count(2, MAX_STORED_KEYS)
            keys = {reader.number(4): (reader.number(8), reader.take(KEY_BYTES)) for _ in range(count)}
            if not keys:
                msg = "skipped chain without keys"
                raise StateDamaged(msg)
            chains.append(SkippedChain(header_key, keys))
        return cls(tuple(chains))


def _bounded(chains: tuple[SkippedChain, ...]) -> tuple[SkippedChain, ...]:
    """Drop the oldest keys over the limit."""
    excess = sum(len(chain.keys) for chain in chains) - MAX_STORED_KEYS
    kept = []
    for chain in chains:
        if excess >= len(chain.keys):
            excess -= len(chain.keys)
        elif excess > 0:
            kept.append(SkippedChain(chain.header_key, dict(list(chain.keys.items())[excess:])))
            excess = 0
        else:
            kept.append(chain)
    return tuple(kept)
