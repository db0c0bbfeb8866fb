"""What the tests of mailbox stores share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.postgres import Server, running


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """A PostgreSQL server for all tests of a run."""
    with running() as server:
        yield server


@pytest.fixture
def postgres(postgres_server: Server) -> Server:
    """The server, without any store."""
    postgres_server.forget()
    return postgres_server
