"""A store that fails is told of once a minute, not once a request.

Owns: when it was last told. Spec: docs/operators.md, "Mailboxes". Never touches: the store.
"""

from typing import Final

import structlog
import trio

from covey_core.errors import CoveyError, FileDamaged
from covey_relay import limits
from covey_relay.mailbox.operations import StoreFailed

_log: Final = structlog.get_logger("covey.relay")

STORE_ERRORS: Final = (StoreFailed, FileDamaged)
"""What a store raises."""


class Complaints:
    """What is said of one store."""

    def __init__(self) -> None:
        self._told_at = float("-inf")
        self.failing = False

    def failed(self, error: CoveyError) -> None:
        """Take note of an error of the store, and tell of it unless that was done lately."""
        self.failing = True
        now = trio.current_time()
        if now - self._told_at >= limits.MAILBOX_COMPLAINT_SECONDS:
            self._told_at = now
            _log.error("relay.mailbox.failed", problem=str(error))

    def works(self) -> bool:
        """Take note that the store works; returns whether it failed before."""
        failed, self.failing = self.failing, False
        if failed:
            self._told_at = float("-inf")
            _log.info("relay.mailbox.recovered")
        return failed
