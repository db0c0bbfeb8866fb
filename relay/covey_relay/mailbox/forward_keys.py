"""The key to which forwarded commands are sealed, replaced every day.

Owns: the relay's X25519 forward keys and until when each is good. Spec: docs/spec/mailbox.md, "Forwarding". Never
touches: the clock and randomness (callers pass both), what is sealed (covey_core.wire.mailbox_forward).

Keys live in memory only: what was sealed to them cannot be opened from a stolen disk.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from covey_core.identity import Identity
from covey_core.wire.mailbox import Hello
from covey_core.wire.mailbox_proof import signed_forward_key
from covey_relay import limits

_SEED_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class ForwardKey:
    """A key pair; told to writers until `told_until`, good until `until` (Unix seconds)."""

    private: bytes = field(repr=False)
    public: bytes
    told_until: int
    until: int
    signature: bytes = field(repr=False)


class ForwardKeys:
    """The keys of one relay. `random(n)` returns n random bytes."""

    def __init__(self, identity: Identity, *, random: Callable[[int], bytes]) -> None:
        self._identity = identity
        self._random = random
        self._keys: list[ForwardKey] = []  # the newest last

    def hello(self, nonce: bytes, *, now: float) -> Hello:
        """Return a stream's first words."""
        key = self.current(now=now)
        return Hello(nonce, int(now), key.public, key.until, key.signature)

    def current(self, *, now: float) -> ForwardKey:
        """Return the key that writers are told, made anew when the last one is a day old."""
        self._forget(now)
        # a clock that was set back far would have a key live for ever
        fits = self._keys and now < self._keys[-1].told_until <= now + limits.MAILBOX_FORWARD_KEY_SECONDS + 1
        if not fits:
            self._keys.append(self._made(int(now)))
            del self._keys[: -limits.MAILBOX_FORWARD_KEYS]
        return self._keys[-1]

    def good(self, *, now: float) -> tuple[ForwardKey, ...]:
        """Return the keys that still open what was sealed to them, the newest first."""
        self._forget(now)
        return tuple(reversed(self._keys))

    def _made(self, now: int) -> ForwardKey:
        private = self._random(_SEED_BYTES)
        public = X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
        told_until = now + limits.MAILBOX_FORWARD_KEY_SECONDS
        until = told_until + limits.MAILBOX_FORWARD_GRACE_SECONDS
        signature = self._identity.sign(signed_forward_key(public, until))
        return ForwardKey(private, public, told_until, until, signature)

    def _forget(self, now: float) -> None:
        self._keys = [one for one in self._keys if now < one.until]
