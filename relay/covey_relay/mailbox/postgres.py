"""The mailbox store in a PostgreSQL database, for several relays that share their mailboxes.

Owns: the connection and what is asked of the server, transactions, what is tried again. Spec: docs/spec/mailbox.md,
"Queues"; docs/adr/0061. The tables and their statements: postgres_tables.py. Never touches: trio (line.py calls this
from its worker thread), who may ask.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, LiteralString, TypeVar

import psycopg
from psycopg import errors

from covey_core.errors import CoveyError, SettingsInvalid
from covey_relay import limits
from covey_relay.limits import MailboxLimits
from covey_relay.mailbox.operations import GROWING, Deposit, Operation, Outcome, Refusal, StoreFailed, Usage
from covey_relay.mailbox.postgres_arrivals import PostgresArrivals
from covey_relay.mailbox.postgres_tables import SCHEMA, TOTALS, PostgresStatements
from covey_relay.mailbox.tables import Tables
from covey_relay.mailbox.transaction import Transaction

T = TypeVar("T")

_VERSION: Final = 1
_SCHEMA_LOCK: Final = 0x436F7665
_TRY_AGAIN: Final = (errors.DeadlockDetected, errors.SerializationFailure)
_REMEDY: Final = "The relay tries again with the next command; look at the server's log if this goes on"
_MESSAGE_BYTES: Final = 1_560
_BLOB_SHARE: Final = 50
"""What a message takes beside its blob: so many bytes, and one for each 50 (docs/adr/0061: 5,740 for 4,112)."""
_QUEUE_BYTES: Final = 1_500
"""What a queue takes with its indexes."""
_ACKED_BYTES: Final = 180
"""What an acknowledged id takes."""

_SESSION: Final = (
    # The lookups are a few hundred keys in tables of millions: never anything but the indexes, planned once.
    "SET search_path TO covey_mailbox",
    "SET enable_seqscan TO off",
    "SET enable_hashjoin TO off",
    "SET enable_mergejoin TO off",
    "SET plan_cache_mode TO force_generic_plan",
    "SET jit TO off",
)


class PostgresStore:
    """A database, used by several relays at once; every commit flushed.

    `bounds.disk_bytes` is compared with what lies in the tables: the server's files are larger by what it has not
    taken up again, and by its log. Two relays at the cap may each add one batch more.
    """

    def __init__(self, url: str, bounds: MailboxLimits) -> None:
        """Connect, and make the tables where there are none. Raises `StoreFailed`, `SettingsInvalid`."""
        self._url = url
        self._bounds = bounds
        self._committing = False
        self._raw = self._opened()

    def _opened(self) -> psycopg.Connection[Any]:
        try:
            raw = connect(self._url)
        except psycopg.Error as exc:
            raise StoreFailed(f"the mailbox database cannot be reached: {_first_line(exc)}") from exc
        try:
            _check_server(raw)
            _prepare(raw)
            self._part = int(_value(raw, "SELECT nextval('parts')")) % TOTALS
        except (psycopg.Error, CoveyError) as exc:
            raw.close()
            if isinstance(exc, CoveyError):
                raise
            raise StoreFailed(f"the mailbox database cannot be used: {_first_line(exc)}") from exc
        return raw

    def apply(self, operations: Sequence[Operation], *, now: int) -> list[Outcome]:
        """See `MailboxStore.apply`. When the connection is lost at COMMIT, `StoreFailed` leaves open what was done."""
        try:
            return self._again(lambda: self._apply(operations, now=now, may_grow=True))
        except errors.DiskFull:
            pass
        except psycopg.Error as exc:
            raise self._failed(exc) from exc
        try:
            return self._again(lambda: self._apply(operations, now=now, may_grow=False))
        except psycopg.Error as exc:
            raise self._failed(exc) from exc

    def _again(self, do: Callable[[], T]) -> T:
        """Do it, again where the server ended it to loosen a knot, or where the connection was lost before COMMIT."""
        tries = limits.MAILBOX_POSTGRES_TRIES
        while True:
            tries -= 1
            self._committing = False
            if self._raw.closed:
                self._raw = self._opened()
            try:
                return do()
            except _TRY_AGAIN:
                if tries == 0:
                    raise
            except psycopg.Error:
                if tries == 0 or self._committing or not self._raw.closed:
                    raise

    def _apply(self, operations: Sequence[Operation], *, now: int, may_grow: bool) -> list[Outcome]:
        raw = self._raw
        try:
            raw.execute("BEGIN")
            tables = Tables(PostgresStatements(raw, part=self._part), operations)
            may_grow = may_grow and self._has_room(tables, operations)
            transaction = Transaction(tables, self._bounds, now=now)
            outcomes: list[Outcome] = [
                transaction.do(one) if may_grow or not isinstance(one, GROWING) else Refusal.DISK for one in operations
            ]
            tables.finish()
            self._committing = True
            raw.execute("COMMIT")
        finally:
            if not raw.closed and raw.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                self._roll_back()
        return outcomes

    def _roll_back(self) -> None:
        """End what was not committed; a connection that cannot even do that is given up."""
        try:
            self._raw.execute("ROLLBACK")
        except psycopg.Error:
            self._raw.close()

    def _has_room(self, tables: Tables, operations: Sequence[Operation]) -> bool:
        coming = [len(one.blob) for one in operations if isinstance(one, Deposit)]
        held = tables.totals
        used = _used_bytes(held.queues, held.messages + len(coming), held.bytes + sum(coming))
        return used <= self._bounds.disk_bytes

    def usage(self) -> Usage:
        """See `MailboxStore.usage`."""
        try:
            return self._again(self._usage)
        except psycopg.Error as exc:
            raise self._failed(exc) from exc

    def _usage(self) -> Usage:
        held = PostgresStatements(self._raw, part=self._part).begin(creates=False)
        acked = _value(self._raw, "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'acked'::regclass")
        earliest = _value(self._raw, "SELECT min(expires) FROM messages")
        used = _used_bytes(held.queues, held.messages, held.bytes) + acked * _ACKED_BYTES
        return Usage(used, held.queues, held.messages, earliest)

    def give_back(self, *, bytes_max: int) -> int:  # noqa: ARG002 - as every store
        """See `MailboxStore.give_back`: the server's autovacuum does that, and would hold up the line from here."""
        return 0

    def arrivals(self) -> PostgresArrivals:
        """See `MailboxStore.arrivals`."""
        return PostgresArrivals(lambda: connect(self._url), own=lambda: self._raw.info.backend_pid)

    def close(self) -> None:
        """See `MailboxStore.close`."""
        self._raw.close()

    def _failed(self, exc: psycopg.Error) -> StoreFailed:
        done = "whether it was done is not known" if self._committing else "nothing was changed"
        return StoreFailed(f"the mailbox database: {_first_line(exc)}; {done}. {_REMEDY}")


def connect(url: str) -> psycopg.Connection[Any]:
    """Return a new connection in which nothing waits for ever, neither for the server nor the server for this relay."""
    milliseconds = limits.MAILBOX_POSTGRES_SECONDS * 1000
    raw = psycopg.connect(
        url,
        autocommit=True,  # BEGIN and COMMIT are written out above
        application_name="covey-relay",
        connect_timeout=limits.MAILBOX_POSTGRES_CONNECT_SECONDS,
        keepalives_idle=limits.MAILBOX_POSTGRES_CONNECT_SECONDS,
        keepalives_interval=1,
        keepalives_count=limits.MAILBOX_POSTGRES_CONNECT_SECONDS,
        tcp_user_timeout=milliseconds,
    )
    try:
        for name in ("statement_timeout", "idle_in_transaction_session_timeout"):
            raw.execute("SELECT set_config(%s, %s, false)", (name, str(milliseconds)))
        for statement in _SESSION:
            raw.execute(statement)
    except BaseException:
        raw.close()
        raise
    return raw


def _check_server(raw: psycopg.Connection[Any]) -> None:
    """Refuse a server that forgets what it has answered; `synchronous_commit` is turned on here where it is off."""
    for setting in ("fsync", "full_page_writes"):
        if _value(raw, "SELECT current_setting(%s)", setting) != "on":
            raise SettingsInvalid(
                f"the mailbox database's server has {setting} off: what it says is not safe on its disk"
            )
    if _value(raw, "SELECT current_setting('synchronous_commit')") == "off":
        raw.execute("SET synchronous_commit TO on")


def _prepare(raw: psycopg.Connection[Any]) -> None:
    """Make the tables, unless another relay has; relays that start together wait for each other."""
    with raw.transaction():
        raw.execute("SELECT pg_advisory_xact_lock(%s)", (_SCHEMA_LOCK,))
        if _value(raw, "SELECT to_regclass('covey_mailbox.version') IS NULL"):
            raw.execute("CREATE SCHEMA IF NOT EXISTS covey_mailbox")
            for statement in SCHEMA:
                raw.execute(statement)
            raw.execute("INSERT INTO totals SELECT part, 0, 0, 0 FROM generate_series(0, %s) AS part", (TOTALS - 1,))
            raw.execute("INSERT INTO version VALUES (%s)", (_VERSION,))
        version = _value(raw, "SELECT version FROM version")
    if version > _VERSION:
        raise SettingsInvalid(f"the mailbox database was written by a newer relay (version {version}); start that one")


def _value(raw: psycopg.Connection[Any], query: LiteralString, *values: object) -> Any:
    found = raw.execute(query, values).fetchone()
    return None if found is None else found[0]


def _used_bytes(queues: int, messages: int, size: int) -> int:
    return size + size // _BLOB_SHARE + messages * _MESSAGE_BYTES + queues * _QUEUE_BYTES


def _first_line(exc: psycopg.Error) -> str:
    return (str(exc).strip() or type(exc).__name__).splitlines()[0]
