"""What other relays deposit in a PostgreSQL store, told by NOTIFY.

Owns: a connection that listens. Spec: postgresql.org/docs/current/sql-listen.html. Never touches: tables, trio (line.py
waits here in a thread), who is subscribed to what.
"""

import time
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg import sql

from covey_relay.mailbox.operations import Arrived, StoreFailed
from covey_relay.mailbox.postgres_tables import CHANNEL, grown


class PostgresArrivals:
    """Listens on a connection of its own. `own()`: the server's process of the store's connection, passed over."""

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]], *, own: Callable[[], int]) -> None:
        """Begin to listen. Raises `StoreFailed`."""
        self._connect = connect
        self._own = own
        try:
            self._raw = self._listening()
        except psycopg.Error as exc:
            raise StoreFailed("the mailbox database cannot be listened to") from exc

    def _listening(self) -> psycopg.Connection[Any]:
        raw = self._connect()
        raw.execute(sql.SQL("LISTEN {}").format(sql.Identifier(CHANNEL)))
        return raw

    def wait(self, *, seconds: float) -> Arrived | None:
        """See `Arrivals.wait`. While the server is away, what arrives is missed: that is said once it is back."""
        if self._raw.closed:
            return self._again(seconds)
        try:
            told = [one for one in self._raw.notifies(timeout=seconds, stop_after=1) if one.pid != self._own()]
        except psycopg.Error:
            self._raw.close()
            return None
        keys = tuple(dict.fromkeys(key for one in told for key in grown(one.payload)))
        return Arrived(keys) if keys else None

    def _again(self, seconds: float) -> Arrived | None:
        begun = time.monotonic()
        try:
            self._raw = self._listening()
        except psycopg.Error:
            time.sleep(max(0.0, seconds - (time.monotonic() - begun)))
            return None
        return Arrived((), missed=True)

    def close(self) -> None:
        """See `Arrivals.close`."""
        self._raw.close()
