"""A database of any older version is brought to the current one; one of a newer version is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from covey_node.store import (
    account,
    contacts,
    deliveries,
    devices,
    invites,
    messages,
    reactions,
    received,
    replay,
)
from covey_node.store import sessions as session_rows
from covey_node.store.connection import Connection
from covey_node.store.errors import NewerDatabase, StoreError
from covey_node.store.migrations import STEPS, migrate, script
from covey_node.store.tx import Tx

from .conftest import KEY

FIXTURES = Path(__file__).parent / "fixtures"
RELEASED = range(1, len(list(FIXTURES.glob("version-*.sql"))) + 1)
"""The versions that were released; steps beyond them may still be changed."""
SCHEMA = "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY type, name"


def load_fixture(path: Path, version: int) -> Connection:
    """Make a database as a program of that version left it."""
    connection = Connection.open(path, KEY)
    step = script((FIXTURES / f"version-{version}.sql").read_text())

    def fill(tx: Tx) -> None:
        step(tx)
        tx.execute(f"PRAGMA user_version = {version}")

    connection.run(fill)
    return connection


@pytest.mark.parametrize("version", RELEASED)
def test_the_data_of_an_older_version_is_read_by_this_one(path: Path, version: int) -> None:
    connection = load_fixture(path, version)
    assert migrate(connection) == len(STEPS)

    def check(tx: Tx) -> None:
        me = account.load(tx)
        assert me is not None
        assert me.name == "Alice"
        [bob] = contacts.all_in(tx)
        assert (bob.alias, bob.addrs) == ("Bob", ("/ip4/192.0.2.1/tcp/4001",))
        [device] = devices.of_contact(tx, bob.id)
        assert [row.change for row in devices.changes(tx, bob.id)] == ["added"]
        [session] = session_rows.of_device(tx, bob.id, device.device_key)
        assert session.state == b"session state"
        newest, oldest = messages.page(tx, bob.id, limit=10)
        assert (oldest.text, newest.text) == ("hello", "hi Alice")
        assert reactions.of(tx, [newest.id])[newest.id][0].emoji == "👍"
        [delivery] = deliveries.of_message(tx, oldest.id)
        assert delivery.packet == b"packet"
        assert received.outcome(tx, device.device_key, b"r" * 32) == "stored"
        [invite] = invites.open_ones(tx, now=5.0)
        assert invite.label == "for Carol"
        assert replay.seen(tx, b"s" * 32)

    connection.read(check)
    connection.close()


@pytest.mark.parametrize("version", RELEASED)
def test_a_released_step_is_never_edited(path: Path, tmp_path: Path, version: int) -> None:
    """The fixture holds the tables as they were released; a change of them has to be a new step."""
    old = load_fixture(path, version)
    new = Connection.open(tmp_path / "new.db", KEY)
    migrate(new, STEPS[:version])
    assert old.read(lambda tx: tx.all(SCHEMA)) == new.read(lambda tx: tx.all(SCHEMA))
    old.close()
    new.close()


def test_migrating_twice_changes_nothing(connection: Connection) -> None:
    before = connection.read(lambda tx: tx.all(SCHEMA))
    assert migrate(connection) == len(STEPS)
    assert connection.read(lambda tx: tx.all(SCHEMA)) == before


def test_a_step_that_fails_leaves_the_version_before_it(path: Path) -> None:
    connection = Connection.open(path, KEY)
    good = script("CREATE TABLE one (a INTEGER);\n")
    bad = script("CREATE TABLE two (a INTEGER);\nINSERT INTO nowhere VALUES (1);\n")
    with pytest.raises(StoreError, match="nowhere"):
        migrate(connection, (good, bad))
    assert connection.read(lambda tx: tx.number("PRAGMA user_version")) == 1
    assert connection.read(lambda tx: tx.all("SELECT name FROM sqlite_master")) == [("one",)]
    assert migrate(connection, (good, script("CREATE TABLE two (a INTEGER, b TEXT);\n"))) == 2
    connection.close()


def test_a_database_of_a_newer_version_is_refused_and_left_alone(connection: Connection, path: Path) -> None:
    newer = len(STEPS) + 1
    connection.run(lambda tx: tx.execute(f"PRAGMA user_version = {newer}"))
    with pytest.raises(NewerDatabase, match=rf"has version {newer}.*knows versions up to {len(STEPS)}.*newer program"):
        migrate(connection)
    assert connection.read(lambda tx: tx.number("PRAGMA user_version")) == newer
    assert str(path) in str(NewerDatabase(path=str(path), version=newer, known=len(STEPS)))
