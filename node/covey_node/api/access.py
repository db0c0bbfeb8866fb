"""The files by which local programs find the API and prove that they may use it.

Owns: api.token (the bearer token), api.json (where the API listens), api.lock (held while the node runs).
Spec: docs/spec/api.md, section 2. Never touches: HTTP.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import trio

from covey_core.errors import FileDamaged, SettingsInvalid
from covey_core.files import atomic_write, read_private
from covey_node.api.address import TcpAddress, UnixAddress
from covey_node.api.limits import LOCK_PAUSE_SECONDS, LOCK_TRIES, TOKEN_BYTES, TOKEN_FILE_BYTES
from covey_node.home import API_FILE, API_LOCK_FILE

_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


def load_or_create_token(path: Path) -> str:
    """Return the bearer token: 43 characters of base64url, 256 random bits; the file (0600) is made when missing.

    Raises `FileDamaged` when it holds something else, `FileUnusable` when other users may read it.
    """
    if not path.exists():
        token = secrets.token_urlsafe(TOKEN_BYTES)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        atomic_write(path, f"{token}\n".encode("ascii"))
        return token
    text = read_private(path, limit_bytes=TOKEN_FILE_BYTES).decode("ascii", "replace").strip()
    if not _TOKEN.fullmatch(text):
        raise FileDamaged(str(path), "not an API token", "Delete it; a new one is made at the next start")
    return text


def publish(home: Path, *, address: TcpAddress | UnixAddress, token_file: Path, version: str) -> Path:
    """Write <home>/api.json (0600) and return its path: `{"address", "token_file", "pid", "version"}`.

    Paths inside the home are relative to it: a container's home is often mounted elsewhere for the client.
    """
    path = home / API_FILE
    where = f"unix:{_inside(home, address.path)}" if isinstance(address, UnixAddress) else str(address)
    body = {"address": where, "token_file": _inside(home, token_file), "pid": os.getpid(), "version": version}
    atomic_write(path, (json.dumps(body, indent=2) + "\n").encode(), mode=0o600)
    return path


@contextlib.asynccontextmanager
async def hold_lock(home: Path) -> AsyncIterator[None]:
    """Hold <home>/api.lock: a client that can take it knows that api.json is a dead node's.

    Without it, whoever got the dead node's port next would be handed the token. The kernel lets go when we die.
    Raises `SettingsInvalid` when another node runs on this home.
    """
    lock = _open_lock(home)
    try:
        for _ in range(LOCK_TRIES):
            if _try_lock(lock):
                break
            await trio.sleep(LOCK_PAUSE_SECONDS)
        else:
            raise SettingsInvalid(f"another node runs on {home}; stop it first, or choose another folder with --home")
        yield
    finally:
        os.close(lock)


def _inside(home: Path, path: Path) -> str:
    return str(path.relative_to(home) if path.is_relative_to(home) else path.absolute())


def _open_lock(home: Path) -> int:
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.open(home / API_LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
