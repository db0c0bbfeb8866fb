"""An open database and rows to put into it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from covey_node.protocol.status import ContactState
from covey_node.store import contacts, devices
from covey_node.store.connection import Connection
from covey_node.store.contacts import ContactRow
from covey_node.store.migrations import migrate

KEY = bytes(range(32))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "covey.db"


@pytest.fixture
def connection(path: Path) -> Iterator[Connection]:
    opened = Connection.open(path, KEY)
    migrate(opened)
    yield opened
    opened.close()


@pytest.fixture
def bob(connection: Connection) -> ContactRow:
    return connection.run(
        lambda tx: contacts.add(
            tx, ContactRow(account_key=b"b" * 32, alias="Bob", state=ContactState.ACCEPTED, created_at=1.0)
        )
    )


@pytest.fixture
def phone(connection: Connection, bob: ContactRow) -> bytes:
    key = b"p" * 32
    connection.run(lambda tx: devices.put(tx, devices.DeviceRow(bob.id, key, b"x" * 32, 1.0)))
    return key
