"""What can go wrong in the end-to-end encryption.

Owns: the room's errors. A peer's broken bytes are `ProtocolViolation`, a packet that does not open is `Undecryptable`,
our own damaged bytes are `StateDamaged`. No message ever carries key material or plaintext.
"""

from __future__ import annotations

from covey_core.errors import CoveyError, ProtocolViolation


class Undecryptable(CoveyError):
    """A packet did not authenticate under any key we hold; drop it, nothing has changed."""


class MessageKeyGone(Undecryptable):
    """A packet that is authentically the peer's, whose message key was used before, aged out or was displaced.

    Nearly always a duplicate. Acknowledge it only when your own record says that this very packet was stored.
    """


class SkippedTooFar(Undecryptable):
    """An authentic packet lies more than `limit` messages ahead in its chain."""

    def __init__(self, *, ahead: int, limit: int) -> None:
        super().__init__(f"packet is {ahead} messages ahead, over the limit of {limit}")
        self.ahead = ahead
        self.limit = limit


class SignatureInvalid(ProtocolViolation):
    """A signature does not verify under the key that should have made it."""


class KeyRefused(ProtocolViolation):
    """A public key is of low order, not canonical, or not a key at all."""


class PrekeysExpired(ProtocolViolation):
    """A prekey bundle is past its time, or dated in the future."""


class PlaintextTooLarge(CoveyError):
    """A plaintext does not fit the largest bucket."""

    def __init__(self, *, size: int, limit: int) -> None:
        super().__init__(f"plaintext of {size} bytes is over the limit of {limit}")
        self.size = size
        self.limit = limit


class StateDamaged(CoveyError):
    """Bytes that this device stored itself (session, prekeys, keys) are not what it wrote."""


class WrapDamaged(CoveyError):
    """A wrapped database key is cut off, altered in form, or of an unknown version."""


class WrongSecret(CoveyError):
    """The passphrase or secret file does not open the database key (or its ciphertext was altered)."""
