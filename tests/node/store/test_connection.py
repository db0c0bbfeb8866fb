"""The file: what is on the disk, and what happens when the disk, the key or the file is wrong."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

import pytest

from covey_core.errors import FileDamaged
from covey_node.store import account
from covey_node.store.connection import Call, CommitPoint, Connection
from covey_node.store.errors import Conflict, StoreError, StoreFull
from covey_node.store.migrations import migrate
from covey_node.store.tx import Tx

from .conftest import KEY


def everything_on_disk(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(folder.iterdir()))


def put(key: str, value: bytes = b"v") -> Call:
    return Call(lambda tx: account.set_meta(tx, key, value), changes=True)


def failing(key: str) -> Call:
    def function(tx: Tx) -> None:
        account.set_meta(tx, key, b"v")
        raise RuntimeError("on purpose")

    return Call(function, changes=True)


def pragma(connection: Connection, name: str) -> object:
    row = connection.read(lambda tx: tx.one(f"PRAGMA {name}"))
    return None if row is None else row[0]


def test_it_is_durable_encrypted_and_forgets_what_was_deleted(connection: Connection) -> None:
    assert pragma(connection, "journal_mode") == "wal"
    assert pragma(connection, "synchronous") == 2
    assert pragma(connection, "secure_delete") == 1
    assert pragma(connection, "foreign_keys") == 1
    assert pragma(connection, "auto_vacuum") == 2
    assert pragma(connection, "cipher_status") == "1"
    assert pragma(connection, "temp_store") == 2


def test_nothing_readable_is_on_the_disk_and_nobody_else_may_read_it(connection: Connection, path: Path) -> None:
    connection.run(lambda tx: account.set_meta(tx, "very secret name", b"a text that nobody may read" * 50))
    disk = everything_on_disk(path.parent)
    assert b"very secret" not in disk
    assert b"nobody may read" not in disk
    assert b"SQLite format" not in disk
    assert KEY not in disk
    assert KEY.hex().encode() not in disk
    for file in path.parent.iterdir():
        assert file.stat().st_mode & 0o077 == 0, file.name


def test_the_wrong_key_is_refused_and_changes_nothing(connection: Connection, path: Path) -> None:
    connection.close()
    before = path.read_bytes()
    wrong = bytes(reversed(KEY))
    with pytest.raises(FileDamaged, match=r"cannot be decrypted with this home's key.*key\.json") as raised:
        Connection.open(path, wrong)
    told = "".join(traceback.format_exception(raised.value))
    assert wrong.hex() not in told
    assert path.read_bytes() == before
    assert Connection.open(path, KEY).read(lambda tx: tx.number("PRAGMA user_version")) >= 1


def test_sqlcipher_writes_nothing_to_the_standard_error(
    connection: Connection, path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    connection.close()
    with pytest.raises(FileDamaged):
        Connection.open(path, bytes(32))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
def test_a_key_of_another_size_is_a_mistake_of_the_caller(path: Path, size: int) -> None:
    with pytest.raises(ValueError, match=f"32 bytes, not {size}"):
        Connection.open(path, bytes(size))
    assert not path.exists()


def test_a_file_that_is_no_database_is_damaged(path: Path) -> None:
    path.write_bytes(os.urandom(8192))
    with pytest.raises(FileDamaged, match=r"covey\.db"):
        Connection.open(path, KEY)


def test_a_page_that_was_changed_on_the_disk_is_noticed_and_the_error_says_what_to_do(path: Path) -> None:
    connection = Connection.open(path, KEY)
    migrate(connection)
    connection.run(lambda tx: [account.set_meta(tx, f"{n:04}", os.urandom(3000)) for n in range(100)])
    connection.close()
    data = bytearray(path.read_bytes())
    for position in range(4096 * 80, len(data), 4096):
        data[position + 100] ^= 1
    path.write_bytes(data)

    connection = Connection.open(path, KEY)
    with pytest.raises(FileDamaged, match="restore a backup"):
        connection.read(lambda tx: tx.all("SELECT value FROM meta"))
    with pytest.raises(FileDamaged, match="restore a backup"):
        connection.run(lambda tx: tx.execute("UPDATE meta SET value = X'00'"))
    assert connection.read(lambda tx: tx.number("PRAGMA user_version")) >= 1  # what is whole can still be read
    connection.close()


def test_each_function_of_a_batch_is_rolled_back_alone(connection: Connection) -> None:
    outcomes = connection.run_batch([put("a"), failing("b"), put("c")])
    outcomes[0].unwrap()
    outcomes[2].unwrap()
    with pytest.raises(RuntimeError, match="on purpose"):
        outcomes[1].unwrap()
    kept = connection.read(lambda tx: [account.get_meta(tx, key) for key in "abc"])
    assert kept == [b"v", None, b"v"]


def test_a_conflict_names_columns_and_never_values(connection: Connection) -> None:
    def twice(tx: Tx) -> None:
        for _ in range(2):
            tx.execute("INSERT INTO meta (key, value) VALUES (?, ?)", ("secret-key", b"secret-value"))

    with pytest.raises(Conflict) as raised:
        connection.run(twice)
    assert "meta.key" in str(raised.value)
    assert "secret" not in str(raised.value)


def test_a_function_that_reads_cannot_write(connection: Connection) -> None:
    with pytest.raises(StoreError):
        connection.read(lambda tx: account.set_meta(tx, "a", b"1"))
    connection.run(lambda tx: account.set_meta(tx, "b", b"2"))
    assert connection.read(lambda tx: [account.get_meta(tx, key) for key in "ab"]) == [None, b"2"]


def test_a_full_database_rolls_everything_back_says_so_and_goes_on(connection: Connection) -> None:
    connection.run(lambda tx: account.set_meta(tx, "before", b"kept"))
    pages = connection.read(lambda tx: tx.number("PRAGMA page_count"))
    connection.read(lambda tx: tx.all(f"PRAGMA max_page_count = {pages + 3}"))

    outcomes = connection.run_batch([put("small"), put("large", bytes(100_000)), put("after")])
    for result in outcomes:
        with pytest.raises(StoreFull, match="disk is full, nothing was changed"):
            result.unwrap()
    assert connection.read(lambda tx: tx.all("SELECT key FROM meta")) == [("before",)]

    connection.run(lambda tx: account.set_meta(tx, "small", b"fits"))
    connection.read(lambda tx: tx.all("PRAGMA max_page_count = 1000000"))
    connection.run(lambda tx: account.set_meta(tx, "large", bytes(100_000)))
    assert connection.read(lambda tx: tx.number("SELECT count(*) FROM meta")) == 3


def test_the_hook_is_called_around_each_commit_that_may_change_something(path: Path) -> None:
    seen: list[tuple[CommitPoint, int]] = []

    def hook(point: CommitPoint) -> None:
        other = Connection.open(path, KEY)
        seen.append((point, other.read(lambda tx: tx.number("SELECT count(*) FROM meta"))))
        other.close()

    first = Connection.open(path, KEY)
    migrate(first)
    connection = Connection.open(path, KEY, on_commit=hook)
    connection.run_batch([put("a"), put("b")])
    connection.read(lambda tx: account.get_meta(tx, "a"))
    assert seen == [(CommitPoint.BEFORE, 0), (CommitPoint.AFTER, 2)]
    connection.close()
    first.close()


def test_a_commit_that_does_not_happen_is_rolled_back(path: Path) -> None:
    armed: list[bool] = []

    def hook(point: CommitPoint) -> None:
        if armed and point is CommitPoint.BEFORE:
            raise OSError("on purpose")

    connection = Connection.open(path, KEY, on_commit=hook)
    migrate(connection)
    armed.append(True)
    with pytest.raises(OSError, match="on purpose"):
        connection.run(lambda tx: account.set_meta(tx, "a", b"1"))
    armed.clear()
    assert connection.read(lambda tx: account.get_meta(tx, "a")) is None
    connection.run(lambda tx: account.set_meta(tx, "b", b"1"))
    connection.close()


def test_what_is_deleted_is_gone_from_the_pages(connection: Connection) -> None:
    mark = b"delete me " * 300
    connection.run(lambda tx: account.set_meta(tx, "a", mark))
    connection.run(lambda tx: tx.execute("DELETE FROM meta"))
    connection.read(lambda tx: tx.all("PRAGMA cipher_status"))
    pages = connection.read(lambda tx: tx.number("PRAGMA freelist_count"))
    assert pages > 0
