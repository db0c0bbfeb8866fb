"""How full the store is, between two measurements.

Owns: the last measurement and what came since. Spec: docs/spec/mailbox.md, "Limits". Never touches: the store, the
clock (callers pass `now`).
"""

from typing import Final

from covey_relay import limits
from covey_relay.mailbox.operations import Usage

_OVERHEAD: Final = 1.15
"""A stored blob takes so many times its size (docs/adr/0060: 4,710 bytes for 4,112)."""


class Disk:
    """What is known of the store's size; `cap_bytes` is all that the operator lets it have."""

    def __init__(self, *, cap_bytes: int) -> None:
        self._cap_bytes: Final = cap_bytes
        self.usage = Usage(0, 0, 0, None)
        self._measured_at = float("-inf")
        self._since_bytes = 0.0

    @property
    def used_bytes(self) -> int:
        """Bytes in use, by the last measurement and what was deposited since."""
        return self.usage.used_bytes + int(self._since_bytes)

    @property
    def cap_bytes(self) -> int:
        """What it may have, less what the disk does not have for it."""
        return max(1, self._cap_bytes - self.usage.missing_bytes)

    @property
    def ratio(self) -> float:
        """The share in use, 0 to 1."""
        return min(1.0, self.used_bytes / self.cap_bytes)

    def measure_now(self, *, now: float) -> bool:
        """Whether the caller is to measure before something is let grow: one of those who ask at a time is told so."""
        if now - self._measured_at < limits.MAILBOX_USAGE_SECONDS:
            return False
        self._measured_at = now
        return True

    def measured(self, usage: Usage, *, now: float) -> None:
        """Take note of a measurement."""
        self.usage, self._measured_at, self._since_bytes = usage, now, 0.0

    def grew(self, size: int) -> None:
        """Take note of a deposit of `size` bytes."""
        self._since_bytes += size * _OVERHEAD
