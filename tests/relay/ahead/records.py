"""Records signed ahead as tests make them: under ordinary keys in the place of blinded ones."""

from __future__ import annotations

from nacl.signing import SigningKey

from covey_core.peers import PeerId
from covey_core.records import ContactRecord, encode_record, signed_part
from covey_core.wire.ahead import Withdraw, expiry_of, withdrawal_part

DAY_SECONDS = 86_400


def day_record(
    key: SigningKey, day: int, *, sequence: int = 1, inside: bytes = b"sealed", expires_at: int | None = None
) -> bytes:
    """A record for a day; sizes and numbers as the test wants them."""
    day_key = bytes(key.verify_key)
    expires_at = expiry_of(day) if expires_at is None else expires_at
    message = signed_part(day_key=day_key, sequence=sequence, expires_at=expires_at, ciphertext=inside)
    return encode_record(ContactRecord(day_key, sequence, expires_at, inside, key.sign(message).signature))


def withdrawal(key: SigningKey, relay: PeerId, *, sequence: int = 1) -> Withdraw:
    """A withdrawal of everything up to `sequence`."""
    day_key = bytes(key.verify_key)
    part = withdrawal_part(relay=relay, day_key=day_key, sequence=sequence)
    return Withdraw(day_key, sequence, key.sign(part).signature)
