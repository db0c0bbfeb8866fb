"""Who a process is on the network: an Ed25519 key, kept in a file of its own.

Owns: the key in memory, and the identity file (JSON, mode 0600, written once and never overwritten).
Spec: docs/spec/network.md. Never touches: libp2p's key classes (covey_core.host converts), the network file.
"""

import base64
import binascii
import errno
import json
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from nacl.signing import SigningKey

from covey_core import limits
from covey_core.errors import FileDamaged, ProtocolViolation
from covey_core.files import atomic_write, read_private, sync_folder, unusable
from covey_core.peers import PeerId, peer_id_of

_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS})  # file systems without: FAT, shared folders
_SEED_BYTES = 32
_FORMAT = "covey-identity-1"


@dataclass(frozen=True, slots=True)
class Identity:
    """An Ed25519 key pair, held as its 32-byte seed (RFC 8032, 5.1.5)."""

    seed: bytes = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse anything that is not 32 bytes."""
        if len(self.seed) != _SEED_BYTES:
            raise ProtocolViolation(f"an identity seed has {_SEED_BYTES} bytes, not {len(self.seed)}")

    @classmethod
    def generate(cls) -> Self:
        """Return a new identity from the system's randomness."""
        return cls(secrets.token_bytes(_SEED_BYTES))

    @property
    def public_key(self) -> bytes:
        """The 32-byte Ed25519 public key."""
        return bytes(SigningKey(self.seed).verify_key)

    @property
    def peer_id(self) -> PeerId:
        """The PeerId of the public key."""
        return peer_id_of(self.public_key)

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte Ed25519 signature over `message`."""
        return bytes(SigningKey(self.seed).sign(message).signature)


def load_or_create_identity(path: Path) -> Identity:
    """Return the identity in `path`, made and stored durably (mode 0600) when there is no such file.

    Raises `FileDamaged` when the file holds no identity (it is left as it is), `FileUnusable` when others may read it
    or it cannot be read or written. Two processes that start at once with one path get the same identity.
    """
    if not _exists(path):
        _create(path, Identity.generate())
    return load_identity(path)


def load_identity(path: Path) -> Identity:
    """Return the identity in `path`; errors as in `load_or_create_identity`, and `FileUnusable` when it is missing."""
    text = read_private(path, limit_bytes=limits.IDENTITY_FILE_BYTES)
    try:
        found = json.loads(text)
        if found["format"] != _FORMAT:
            raise _damaged(path)
        identity = Identity(base64.b64decode(found["seed"], validate=True))
        named = found["peer_id"]
    except (ValueError, TypeError, LookupError, RecursionError, binascii.Error, ProtocolViolation) as exc:
        raise _damaged(path) from exc
    if named != identity.peer_id:
        raise _damaged(path)
    return identity


def _exists(path: Path) -> bool:
    try:
        return path.exists() or path.is_symlink()
    except OSError as exc:
        raise unusable(path, exc) from exc


def _create(path: Path, identity: Identity) -> None:
    document = {
        "format": _FORMAT,
        "peer_id": identity.peer_id,
        "seed": base64.b64encode(identity.seed).decode(),
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
        atomic_write(draft, json.dumps(document, indent=2).encode() + b"\n")
        try:
            os.link(draft, path)  # fails where another process was first: its identity stands
        except FileExistsError:
            pass
        except OSError as exc:
            if exc.errno not in _NO_LINKS:
                raise
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as exc:
        raise unusable(path, exc) from exc


def _damaged(path: Path) -> FileDamaged:
    return FileDamaged(
        str(path),
        "this is no complete identity file",
        "Put back a copy of it; or, to start as somebody new, move it away and start again.",
    )
