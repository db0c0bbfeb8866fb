"""Which store the mailboxes lie in, by what the operator says.

Owns: the choice. Spec: docs/operators.md, "Several relays with one database". Never touches: settings, trio (called in
a worker thread).
"""

from pathlib import Path
from typing import Final

from covey_core.errors import SettingsInvalid
from covey_relay.limits import MailboxLimits
from covey_relay.mailbox.operations import MailboxStore
from covey_relay.mailbox.sqlite import SqliteStore

_SCHEMES: Final = ("postgresql://", "postgres://")


def open_store(*, path: Path, bounds: MailboxLimits, url: str = "") -> MailboxStore:
    """Open the PostgreSQL database at `url` (a libpq URL, secret), or the SQLite file at `path` when that is empty.

    Raises `StoreFailed`, `FileDamaged`, `SettingsInvalid`, `OSError` for a folder that cannot be made.
    """
    if not url:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return SqliteStore(path, bounds)
    if not url.startswith(_SCHEMES):
        raise SettingsInvalid("the mailbox database's URL must begin with postgresql://")
    try:
        from covey_relay.mailbox.postgres import PostgresStore  # noqa: PLC0415 - a relay with a file needs no client
    except ImportError as exc:
        raise SettingsInvalid("PostgreSQL's client is not installed: pip install 'covey[relay]'") from exc
    return PostgresStore(url, bounds)
