"""The 60 digits that two people compare to know that nobody sits between them.

Owns: Signal's numeric fingerprint, version 0 with 5,200 rounds. Spec: docs/spec/e2ee.md section 9.
Never touches: who has compared what.
"""

from __future__ import annotations

import hashlib
from typing import Final

_VERSION: Final = b"\x00\x00"
_ROUNDS: Final = 5_200
_CHUNK_BYTES: Final = 5


def fingerprint(key: bytes, identifier: bytes) -> str:
    """Return 30 digits for one side: its key, and what names it. Costs 5,200 SHA-512, about 5 ms."""
    digest = _VERSION + key + identifier
    for _ in range(_ROUNDS):
        digest = hashlib.sha512(digest + key).digest()
    chunks = (digest[at : at + _CHUNK_BYTES] for at in range(0, 6 * _CHUNK_BYTES, _CHUNK_BYTES))
    return "".join(f"{int.from_bytes(chunk, 'big') % 100_000:05}" for chunk in chunks)


def numeric_fingerprint(one: tuple[bytes, bytes], other: tuple[bytes, bytes]) -> str:
    """Return the 60 digits of two sides given as (key, identifier), the same whichever comes first."""
    return "".join(sorted((fingerprint(*one), fingerprint(*other))))


def safety_number(one: bytes, other: bytes) -> str:
    """Return the 60 digits of two accounts by their 32-byte keys, which stand as key and as identifier."""
    return numeric_fingerprint((one, one), (other, other))
