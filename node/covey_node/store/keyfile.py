"""`key.json`: the database's key, wrapped by a passphrase or by a secret file.

Owns: the file's layout and the ways to unlock it. Spec: docs/spec/store.md "Key file".
Never touches: how a key is wrapped (covey_node.crypto.at_rest), the database.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

from covey_core.errors import FileDamaged
from covey_core.files import atomic_write, read_bounded, read_private
from covey_node.crypto import at_rest
from covey_node.crypto.errors import WrapDamaged, WrongSecret
from covey_node.limits import KEY_FILE_BYTES, SECRET_FILE_BYTES
from covey_node.store.errors import SecretTooShort, WrongPassphrase

Rng: TypeAlias = Callable[[int], bytes]

_VERSION: Final = 1
_SECRET_BYTES_MIN: Final = 32
_REMEDY: Final = "Restore it from a backup: without it nobody can open the database."


@dataclass(frozen=True, slots=True)
class Passphrase:
    """The key is wrapped by a passphrase (Argon2id)."""

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SecretFile:
    """The key is wrapped by a file with 32 random bytes or more, raw or as text (`openssl rand -base64 32`)."""

    path: Path


Unlock: TypeAlias = Passphrase | SecretFile


def make_secret_file(path: Path, *, rng: Rng = os.urandom) -> None:
    """Write a new secret file (0600): a line of base64 with 32 random bytes. Raises `FileUnusable`."""
    atomic_write(path, base64.b64encode(rng(_SECRET_BYTES_MIN)) + b"\n")


def write(path: Path, key: bytes, unlock: Unlock, *, rng: Rng) -> None:
    """Wrap a key of 32 bytes and write the file (0600, atomic). Raises `FileUnusable`, `SecretTooShort`."""
    if isinstance(unlock, Passphrase):
        wrapped = at_rest.wrap_with_passphrase(key, unlock.text, rng)
    else:
        wrapped = at_rest.wrap_with_secret(key, _secret(unlock.path), rng)
    value = {"version": _VERSION, "wrapped": base64.b64encode(wrapped).decode()}
    atomic_write(path, json.dumps(value).encode() + b"\n")


def read(path: Path, unlock: Unlock) -> bytes:
    """Return the key of 32 bytes. With a passphrase this is slow and takes memory (Argon2id): call it in a thread.

    Raises `WrongPassphrase`, `FileDamaged`, `FileUnusable`, `SecretTooShort`.
    """
    wrapped = _parse(path)
    try:
        if at_rest.needs_passphrase(wrapped):
            if not isinstance(unlock, Passphrase):
                raise WrongPassphrase(
                    "this node is unlocked by a passphrase, not by a secret file; nothing was changed"
                )
            return at_rest.unwrap(wrapped, passphrase=unlock.text)
        if not isinstance(unlock, SecretFile):
            raise WrongPassphrase("this node is unlocked by a secret file, not by a passphrase; nothing was changed")
        return at_rest.unwrap(wrapped, secret=_secret(unlock.path))
    except WrongSecret as exc:
        what = (
            "the passphrase is wrong" if isinstance(unlock, Passphrase) else f"{unlock.path} is not this node's secret"
        )
        raise WrongPassphrase(f"{what}; nothing was changed") from exc
    except WrapDamaged as exc:
        raise FileDamaged(str(path), "the wrapped key is damaged, or of a newer version", _REMEDY) from exc


def _parse(path: Path) -> bytes:
    try:
        value = json.loads(read_private(path, limit_bytes=KEY_FILE_BYTES))
        version, wrapped = value["version"], base64.b64decode(value["wrapped"], validate=True)
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        raise FileDamaged(str(path), "it is not a key file", _REMEDY) from exc
    if version != _VERSION:
        raise FileDamaged(str(path), f"its version {version!r} is not known", "Start the newer program that wrote it.")
    return wrapped


def _secret(path: Path) -> bytes:
    """Return a secret file's contents; line breaks at its end do not count.

    Its rights are not checked: container engines mount secrets as they please, and their owner guards them.
    """
    content = read_bounded(path, limit_bytes=SECRET_FILE_BYTES).rstrip(b"\r\n")
    if len(content) < _SECRET_BYTES_MIN:
        raise SecretTooShort(path=str(path), size=len(content), least=_SECRET_BYTES_MIN)
    return content
