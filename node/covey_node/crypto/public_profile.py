"""The keys under which an account's public profile lies: anybody who knows the account can make them.

Owns: the share that follows from an account's key. Spec: docs/spec/profile.md. Never touches: what a profile says, the
DHT. Blinding, sealing and signing are those of contact records (blinding.py), with the account's key in A's place.
"""

from __future__ import annotations

import hashlib
from typing import Final

from covey_node.crypto.account import Account
from covey_node.crypto.blinding import RecordKeys, RecordShare
from covey_node.crypto.primitives import check_ed25519

LABEL_PROFILE: Final = b"covey public profile 1\x00"


def profile_share(account_key: bytes) -> RecordShare:
    """Return what finds and opens the profile of an account (32 bytes); `KeyRefused` for what is no account's key."""
    return RecordShare(check_ed25519(account_key), _secret(account_key))


def profile_keys(account: Account) -> RecordKeys:
    """Return what seals and signs our own: only who has the account's private half can."""
    return RecordKeys.of(account.seed, _secret(account.public_key))


def _secret(account_key: bytes) -> bytes:
    return hashlib.sha256(LABEL_PROFILE + account_key).digest()
