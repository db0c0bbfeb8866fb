"""The values a DHT server holds for others.

Owns: the records, what may be put, how long they stay and who may fill how much. Spec: docs/spec/dht.md.
Never touches: sockets, trio, the clock (callers pass `now`, Unix seconds).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from covey_core.errors import ProtocolViolation
from covey_core.host import kad_limits as limits


class RecordValidator(Protocol):
    """The rules of one namespace; both methods are pure."""

    def validate(self, key: bytes, value: bytes, *, now: float) -> None:
        """Raise `ProtocolViolation` unless `value` may stand under `key` (all of it, prefix included) at `now`."""

    def select(self, values: Sequence[bytes]) -> int:
        """Return the index of the best of several valid values."""


class PutOutcome(StrEnum):
    """What became of a put."""

    STORED = "stored"
    REFRESHED = "refreshed"  # the same value again: it stays another 24 h
    STALE = "stale"  # a better value is already held
    INVALID = "invalid"
    FULL = "full"


@dataclass(slots=True)
class _Held:
    value: bytes = field(repr=False)
    received_at: float
    source: str


class RecordStore:
    """Values by key, bounded in number, bytes and per source; only keys of a namespace with a validator."""

    def __init__(self, validators: Mapping[str, RecordValidator]) -> None:
        self._validators = dict(validators)
        self._held: dict[bytes, _Held] = {}  # in the order of their last put
        self._bytes = 0
        self._by_source: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._held)

    def check(self, key: bytes, value: bytes, *, now: float) -> RecordValidator:
        """Return the validator of `key`'s namespace after it accepted `value`; else raise `ProtocolViolation`."""
        if not 0 < len(key) <= limits.KEY_BYTES:
            raise ProtocolViolation(f"a record key of {len(key)} bytes; 1 to {limits.KEY_BYTES} are allowed")
        if len(value) > limits.VALUE_BYTES:
            raise ProtocolViolation(f"a record of {len(value)} bytes, over the limit of {limits.VALUE_BYTES}")
        pieces = key.split(b"/", 2)
        validator = self._validators.get(pieces[1].decode("latin-1")) if len(pieces) == 3 and not pieces[0] else None  # noqa: PLR2004 - "/name/rest"
        if validator is None:
            raise ProtocolViolation("a record key of no known namespace")
        validator.validate(key, value, now=now)
        return validator

    def put(self, key: bytes, value: bytes, *, source: str, now: float, share: int | None = None) -> PutOutcome:
        """Hold a value for 24 h.

        `source` is who is charged for it, an address group; it may have `share` values (`limits.SOURCE_RECORDS`).
        """
        try:
            validator = self.check(key, value, now=now)
        except ProtocolViolation:
            return PutOutcome.INVALID
        self.expire(now=now)
        old = self._held.get(key)
        if old is not None and old.value == value:
            old.received_at = now
            self._held[key] = self._held.pop(key)
            return PutOutcome.REFRESHED
        if old is not None and self._is_valid(key, old.value, now=now) and validator.select((value, old.value)) != 0:
            return PutOutcome.STALE
        share = limits.SOURCE_RECORDS if share is None else share
        if not self._has_room(len(value), source, share, instead_of=old):
            return PutOutcome.FULL
        self._drop(key)
        self._held[key] = _Held(value, now, source)
        self._bytes += len(value)
        self._by_source[source] = self._by_source.get(source, 0) + 1
        return PutOutcome.STORED

    def get(self, key: bytes, *, now: float) -> tuple[bytes, float] | None:
        """Return a value and when it was received, if it is held and still valid."""
        self.expire(now=now)
        held = self._held.get(key)
        if held is None:
            return None
        if not self._is_valid(key, held.value, now=now):
            self._drop(key)
            return None
        return held.value, held.received_at

    def expire(self, *, now: float) -> None:
        """Drop what was last put 24 h ago or earlier."""
        while self._held:
            oldest = next(iter(self._held))
            if self._held[oldest].received_at + limits.RECORD_SECONDS > now:
                return
            self._drop(oldest)

    def _is_valid(self, key: bytes, value: bytes, *, now: float) -> bool:
        try:
            self.check(key, value, now=now)
        except ProtocolViolation:
            return False
        return True

    def _has_room(self, size: int, source: str, share: int, *, instead_of: _Held | None) -> bool:
        if instead_of is not None:
            own = instead_of.source == source
            return self._bytes - len(instead_of.value) + size <= limits.RECORDS_BYTES and (
                own or self._by_source.get(source, 0) < share
            )
        return (
            len(self._held) < limits.RECORDS
            and self._bytes + size <= limits.RECORDS_BYTES
            and self._by_source.get(source, 0) < share
        )

    def _drop(self, key: bytes) -> None:
        held = self._held.pop(key, None)
        if held is None:
            return
        self._bytes -= len(held.value)
        left = self._by_source[held.source] - 1
        if left:
            self._by_source[held.source] = left
        else:
            del self._by_source[held.source]
