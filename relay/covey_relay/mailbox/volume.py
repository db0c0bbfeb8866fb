"""The disk that a store's file lies on, and who uses the file.

Owns: how much room there is and must stay, the lock file. Spec: docs/spec/mailbox.md, "Limits". Never touches: what is
in the file (sqlite.py).
"""

import fcntl
import os
from pathlib import Path

from covey_relay import limits
from covey_relay.mailbox.operations import StoreFailed


class Volume:
    """The file system of a path whose folder exists."""

    def __init__(self, path: Path) -> None:
        self._folder = path.parent
        try:
            found = os.statvfs(self._folder)
        except OSError as exc:
            raise StoreFailed(f"{path}: cannot be opened: {exc}") from exc
        self.reserve_bytes = min(
            limits.MAILBOX_FREE_BYTES, found.f_blocks * found.f_frsize // limits.MAILBOX_FREE_SHARE
        )
        """What must stay free."""

    def room_bytes(self) -> int:
        """Return how many bytes may still be taken; 0 and less: none."""
        found = os.statvfs(self._folder)
        return found.f_bavail * found.f_frsize - self.reserve_bytes


class OnlyUser:
    """Holds a lock file beside the database as long as this process uses it; the system frees it with the process.

    Not the database itself: closing a second descriptor of that would end SQLite's own locks
    (sqlite.org/howtocorrupt.html, 2.2).
    """

    def __init__(self, path: Path) -> None:
        """Raises `StoreFailed` when somebody else uses the database."""
        try:
            self._descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise StoreFailed(f"{path}: cannot be opened: {exc}") from exc
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            os.close(self._descriptor)
            raise StoreFailed(
                f"{path}: another relay uses these mailboxes; stop it, or name another file in COVEY_RELAY_MAILBOX_FILE"
            ) from exc

    def close(self) -> None:
        """Let others use the database."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
