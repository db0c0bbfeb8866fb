"""A node's home directory: the database, its wrapped key, and the lock that keeps a second process out.

Owns: `<home>/covey.db`, `<home>/key.json`, `<home>/lock`. Spec: docs/spec/store.md "Home".
Never touches: the key's wrapping (keyfile.py), tables, the other files in the directory.

A home is made in this order: `key.json.new`, `covey.db.new` filled and closed, rename of the key, of the database.
So a database without its key never exists; whoever dies in between leaves nothing that counts.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import trio

from covey_core.errors import FileDamaged
from covey_core.files import sync_folder, unusable
from covey_node.store import keyfile
from covey_node.store.connection import KEY_BYTES, CommitHook, Connection
from covey_node.store.database import Database
from covey_node.store.errors import HomeExists, HomeInUse, HomeMissing
from covey_node.store.keyfile import Passphrase, Rng, SecretFile, Unlock
from covey_node.store.migrations import migrate
from covey_node.store.tx import Tx

__all__ = ["Passphrase", "SecretFile", "Unlock", "create_home", "exists", "open_home"]

DATABASE_FILE: Final = "covey.db"
KEY_FILE: Final = "key.json"
LOCK_FILE: Final = "lock"
PAGE_BYTES: Final = 4096  # SQLCipher 4's page


def exists(home: Path) -> bool:
    """Tell whether a node was set up in this directory."""
    return (home / KEY_FILE).exists()


def create_home(home: Path, unlock: Unlock, *, fill: Callable[[Tx], None], rng: Rng = os.urandom) -> None:
    """Set up a home: a new key, a database of the current version, and in it whatever `fill` stores (our account).

    The directory is made (0700) when it is missing. Afterwards either the whole home exists or nothing that counts.
    Raises `HomeExists`, `HomeInUse`, `StoreFull`, `FileUnusable`, `SecretTooShort`, and what `fill` raises.
    """
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise unusable(home, exc) from exc
    with _locked(home):
        if exists(home) or (home / DATABASE_FILE).exists():
            raise HomeExists(f"a node was set up in {home} already; open it, or choose another directory")
        key = rng(KEY_BYTES)
        new_key, new_database = home / f"{KEY_FILE}.new", home / f"{DATABASE_FILE}.new"
        _remove_database(new_database)
        keyfile.write(new_key, key, unlock, rng=rng)
        connection = Connection.open(new_database, key)
        try:
            migrate(connection)
            connection.run(fill)
        finally:
            connection.close()  # the last connection moves the write-ahead log into the file
        _flush(new_database)
        new_key.rename(home / KEY_FILE)
        new_database.rename(home / DATABASE_FILE)
        sync_folder(home)


@asynccontextmanager
async def open_home(home: Path, unlock: Unlock, *, on_commit: CommitHook | None = None) -> AsyncIterator[Database]:
    """Open a home for the time of the block; no other process can open it meanwhile.

    Raises `HomeMissing`, `HomeInUse`, `WrongPassphrase` (nothing was changed), `FileDamaged`, `FileUnusable`,
    `NewerDatabase`, `StoreFull`.
    """
    with _locked(home):
        _finish_creation(home)
        key = await trio.to_thread.run_sync(keyfile.read, home / KEY_FILE, unlock)
        async with Database.open(home / DATABASE_FILE, key, on_commit=on_commit) as database:
            yield database


def _finish_creation(home: Path) -> None:
    """Do the last rename that an interrupted `create_home` left, or say what is missing or cut off."""
    database, new_database = home / DATABASE_FILE, home / f"{DATABASE_FILE}.new"
    if exists(home) and not database.exists() and new_database.exists():
        new_database.rename(database)
        sync_folder(home)
    if exists(home) and not database.exists():
        raise FileDamaged(str(database), "the file is missing", "Put it back, or restore a backup.")
    if database.exists() and not exists(home):
        raise FileDamaged(str(home / KEY_FILE), "the file is missing", "Put it back: nobody can open covey.db without.")
    if not exists(home):
        raise HomeMissing(f"no node was set up in {home} yet; do so with `covey init`")
    if database.stat().st_size < PAGE_BYTES:  # SQLite would take what is left of it for a new, empty database
        raise FileDamaged(str(database), "the file was cut off", "Restore a backup.")


@contextmanager
def _locked(home: Path) -> Iterator[None]:
    """Hold the home's lock for the time of the block. The kernel frees it when the process ends, however it does."""
    try:
        descriptor = os.open(home / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError as exc:
        raise HomeMissing(f"there is no directory {home}; set a node up with `covey init`") from exc
    except OSError as exc:
        raise unusable(home / LOCK_FILE, exc) from exc
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise HomeInUse(f"another process has {home} open; stop that node, or use its local API") from exc
        yield
    finally:
        os.close(descriptor)


def _remove_database(path: Path) -> None:
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        path.with_name(name).unlink(missing_ok=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
