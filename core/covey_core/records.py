"""Contact records as the DHT sees them: sealed, signed by a key of one day, and comparable.

Owns: the outer format, its check by those who store it, and which of several is the newest. Spec:
docs/spec/contact-record.md. Never touches: what is inside (covey_node.crypto seals, opens and signs with the blinded
key), the DHT.
"""

import base64
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from nacl.bindings import crypto_core_ed25519_is_valid_point
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from covey_core import limits
from covey_core.errors import ProtocolViolation

KEY_PREFIX: Final = "/c/"
NAMESPACE: Final = "c"
SIGNATURE_CONTEXT: Final = b"covey contact record 1\x00"

_VERSION: Final = 1
_POINT_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64
_HEAD: Final = struct.Struct(">B32sQQI")  # version | A_day | sequence | expiry | length of the ciphertext
_SIGNED: Final = struct.Struct(">32sQQI")
RECORD_OVERHEAD_BYTES: Final = _HEAD.size + _SIGNATURE_BYTES
RECORD_MAX_BYTES: Final = RECORD_OVERHEAD_BYTES + limits.RECORD_CIPHERTEXT_BYTES


@dataclass(frozen=True, slots=True)
class ContactRecord:
    """One record: `day_key` is A_day (32 bytes), `expires_at` Unix seconds, `signature` 64 bytes by `day_key`."""

    day_key: bytes
    sequence: int
    expires_at: int
    ciphertext: bytes = field(repr=False)
    signature: bytes = field(repr=False)


def record_key(day_key: bytes) -> str:
    """Return the DHT key of the day's blinded key (32 bytes): "/c/" and its base64url form, 46 characters."""
    if len(day_key) != _POINT_BYTES:
        raise ProtocolViolation(f"a day key has {_POINT_BYTES} bytes, not {len(day_key)}")
    return KEY_PREFIX + base64.urlsafe_b64encode(day_key).rstrip(b"=").decode()


def signed_part(*, day_key: bytes, sequence: int, expires_at: int, ciphertext: bytes) -> bytes:
    """Return the bytes that the day's key signs."""
    return SIGNATURE_CONTEXT + _SIGNED.pack(day_key, sequence, expires_at, len(ciphertext)) + ciphertext


def encode_record(record: ContactRecord) -> bytes:
    """Return the value as it lies in the DHT; `ProtocolViolation` when a size is not what the format allows."""
    if len(record.day_key) != _POINT_BYTES or len(record.signature) != _SIGNATURE_BYTES:
        raise ProtocolViolation("a record needs a day key of 32 bytes and a signature of 64")
    _check_ciphertext(len(record.ciphertext))
    head = _HEAD.pack(_VERSION, record.day_key, record.sequence, record.expires_at, len(record.ciphertext))
    return head + record.ciphertext + record.signature


def decode_record(value: bytes) -> ContactRecord:
    """Return the record in `value`, nothing but its form checked; `ProtocolViolation` when it is none."""
    if len(value) < RECORD_OVERHEAD_BYTES:
        raise ProtocolViolation(f"{len(value)} bytes are too few for a contact record")
    version, day_key, sequence, expires_at, size = _HEAD.unpack_from(value)
    if version != _VERSION:
        raise ProtocolViolation(f"a contact record of version {version}")
    _check_ciphertext(size)
    if len(value) != RECORD_OVERHEAD_BYTES + size:
        raise ProtocolViolation(f"a contact record of {len(value)} bytes that announces {size} inside")
    return ContactRecord(
        day_key=day_key,
        sequence=sequence,
        expires_at=expires_at,
        ciphertext=value[_HEAD.size : -_SIGNATURE_BYTES],
        signature=value[-_SIGNATURE_BYTES:],
    )


def verify_record(key: str | bytes, value: bytes, now: float) -> ContactRecord:
    """Return the record in `value` when it may stand under `key` at `now` (Unix seconds).

    Raises `ProtocolViolation` unless the key is the record's own, the day's key is a canonical point of the
    prime-order subgroup, the record has not expired and does not expire too far ahead, and the signature fits.
    """
    record = decode_record(value)
    wanted = record_key(record.day_key)
    if (key if isinstance(key, bytes) else key.encode()) != wanted.encode():
        raise ProtocolViolation("a contact record under a key that is not its own")
    if record.expires_at <= now:
        raise ProtocolViolation("a contact record that has expired")
    ahead = limits.RECORD_VALID_SECONDS + limits.RECORD_CLOCK_SKEW_SECONDS
    if record.expires_at > now + ahead:
        raise ProtocolViolation(f"a contact record that expires more than {ahead} s ahead")
    if not crypto_core_ed25519_is_valid_point(record.day_key):
        raise ProtocolViolation("a contact record whose key is no point of the prime-order subgroup")
    message = signed_part(
        day_key=record.day_key,
        sequence=record.sequence,
        expires_at=record.expires_at,
        ciphertext=record.ciphertext,
    )
    try:
        VerifyKey(record.day_key).verify(message, record.signature)
    except BadSignatureError as exc:
        raise ProtocolViolation("a contact record whose signature does not fit") from exc
    return record


def select_record(values: Sequence[bytes]) -> int:
    """Return the index of the newest of at least one verified value: the highest sequence.

    Among equal sequences the later expiry, then the larger bytes: all holders choose the same.
    """
    return max(range(len(values)), key=lambda index: _rank(values[index]))


class ContactRecordValidator:
    """The validator of the DHT's namespace "c"."""

    def validate(self, key: bytes, value: bytes, *, now: float) -> None:
        """Raise `ProtocolViolation` unless `value` may be stored under `key` at `now` (Unix seconds)."""
        verify_record(key, value, now)

    def select(self, values: Sequence[bytes]) -> int:
        """Return the index of the value to keep, of at least one verified value."""
        return select_record(values)


def _rank(value: bytes) -> tuple[int, int, bytes]:
    record = decode_record(value)
    return record.sequence, record.expires_at, value


def _check_ciphertext(size: int) -> None:
    if not 0 < size <= limits.RECORD_CIPHERTEXT_BYTES:
        raise ProtocolViolation(f"a ciphertext of {size} bytes, where 1 to {limits.RECORD_CIPHERTEXT_BYTES} may be")
