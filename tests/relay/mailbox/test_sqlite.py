"""What only the store in one SQLite file has: the file itself."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from covey_core.errors import SettingsInvalid
from covey_relay.limits import MailboxLimits
from covey_relay.mailbox import operations as op
from covey_relay.mailbox.sqlite import SqliteStore
from tests.relay.mailbox.test_store import BOUNDS, DAY, NOW, SMALL, created, do, put


def test_expiry_gives_the_disk_back(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "mailboxes.db", MailboxLimits(queue_messages=1000, queue_bytes=2**30))
    created(store)
    store.give_back(bytes_max=2**30)
    empty = store.usage().used_bytes
    for start in range(0, 600, 200):
        store.apply([put(n) for n in range(start, start + 200)], now=NOW)
    full = store.usage().used_bytes
    assert full > 600 * SMALL
    assert do(store, op.Expire(1000), NOW + 3 * DAY) == op.Expired(600, 0, more=False)
    given = 0
    while freed := store.give_back(bytes_max=2**18):
        assert freed <= 2**18
        given += freed
    assert given > 0.9 * (full - empty)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 0.2 * full
    store.close()


def test_the_file_of_a_newer_relay_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "mailboxes.db"
    SqliteStore(path, BOUNDS).close()
    raw = sqlite3.connect(path)
    raw.execute("PRAGMA user_version = 2")
    raw.commit()
    raw.close()
    with pytest.raises(SettingsInvalid, match="newer"):
        SqliteStore(path, BOUNDS)


def test_the_file_is_for_the_relay_alone(tmp_path: Path) -> None:
    path = tmp_path / "mailboxes.db"
    SqliteStore(path, BOUNDS).close()
    assert path.stat().st_mode & 0o077 == 0


def test_every_commit_is_flushed(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "mailboxes.db", BOUNDS)
    try:
        assert store._pragma("synchronous") == 2
        assert store._raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    finally:
        store.close()
