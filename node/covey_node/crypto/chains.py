"""The parts of a ratchet's state: the chain of each direction, and the ratchet keys that wait for a step.

Owns: `SendingChain`, `ReceivingChain`, `OwnKeys`, `PeerKeys`. Spec: docs/spec/e2ee.md 8.2.
Never touches: how they move on (ratchet.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from covey_node.crypto.primitives import KemPair, KemPublic


@dataclass(frozen=True, slots=True)
class SendingChain:
    """Our current chain; `announced` is what its packets' ratchet part says: X25519 key, KEM key, KEM ciphertext."""

    chain_key: bytes = field(repr=False, compare=False)
    count: int
    header_keys: bytes = field(repr=False, compare=False)
    announced: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ReceivingChain:
    """The peer's current chain; `count` is the number of the next packet."""

    chain_key: bytes = field(repr=False, compare=False)
    count: int
    header_keys: bytes = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class OwnKeys:
    """Our ratchet keys while they wait for the peer's next step."""

    x25519_secret: bytes = field(repr=False, compare=False)
    x25519: bytes
    kem: KemPair = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class PeerKeys:
    """The peer's ratchet keys while they wait for our next step."""

    x25519: bytes
    kem: KemPublic = field(repr=False, compare=False)
