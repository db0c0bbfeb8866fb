"""Which kinds of paths to a device failed lately, and for how long they are passed over for it.

Owns: the count of failures of each kind of path and the end of its punishment. Spec: docs/spec/paths.md, "Punishment".
Never touches: connections, sockets, trio, the clock (callers pass `now`).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from covey_node import limits


@dataclass(slots=True)
class _Record:
    failures: int
    free_at: float


class PathTrust:
    """Failures by kind of path. A connection that comes after one that failed is of the same kind, and as suspect."""

    def __init__(self) -> None:
        self._records: OrderedDict[str, _Record] = OrderedDict()

    def failed(self, key: str, *, now: float) -> None:
        """A path of kind `key` died: each failure passes over its kind for twice as long as the one before."""
        record = self._records.pop(key, None) or _Record(0, now)
        seconds = limits.PATH_PUNISHED_SECONDS_MIN * 2.0 ** min(record.failures, 16)
        record.failures += 1
        record.free_at = now + min(seconds, limits.PATH_PUNISHED_SECONDS_MAX)
        self._records[key] = record
        while len(self._records) > limits.PATH_KINDS_REMEMBERED:
            self._records.popitem(last=False)

    def lasted(self, key: str) -> None:
        """A path of kind `key` was in use for `limits.PATH_FORGIVEN_SECONDS` without failing: all is forgotten."""
        self._records.pop(key, None)

    def forgive_all(self) -> None:
        """The network changed: what failed there says nothing about here."""
        self._records.clear()

    def free_at(self, key: str) -> float:
        """Return from when on a path of this kind may replace another; 0 when it never failed."""
        record = self._records.get(key)
        return 0.0 if record is None else record.free_at

    def failures(self, key: str) -> int:
        """Return how often a path of this kind failed and was not forgiven."""
        record = self._records.get(key)
        return 0 if record is None else record.failures
