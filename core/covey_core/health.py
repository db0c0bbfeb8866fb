"""Whether a component is alive and ready, and if not, why.

Owns: the component's state, its heartbeats, its readiness checks. Never touches: HTTP (ops), the clock (injected).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from covey_core import limits
from covey_core.metrics import CoreMetrics, State

__all__ = ["Health", "Heartbeat", "Report", "State"]

_ROOM: Final = limits.HEALTH_CHECKS


@dataclass(frozen=True, slots=True)
class Report:
    """An answer for a probe: `reasons` maps a check's name to why it fails; empty when all is well."""

    ok: bool
    state: State
    reasons: dict[str, str]


class Heartbeat:
    """Touched by a task that must never stall; alive as long as the last touch is not older than its bound."""

    def __init__(self, clock: Callable[[], float], bound_seconds: float) -> None:
        self._clock = clock
        self._bound_seconds = bound_seconds
        self._touched_at = clock()

    def touch(self) -> None:
        """Say that the task is running."""
        self._touched_at = self._clock()

    def late_seconds(self) -> float:
        """Return by how much the bound is exceeded; 0 when it is not."""
        return max(0.0, self._clock() - self._touched_at - self._bound_seconds)


class Health:
    """State and checks of one component. `clock` is monotonic, in seconds."""

    def __init__(self, *, metrics: CoreMetrics | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._metrics = metrics
        self._clock = clock
        self._heartbeats: dict[str, Heartbeat] = {}
        self._checks: dict[str, Callable[[], str | None]] = {}
        self._state = State.STARTING

    @property
    def state(self) -> State:
        """Where the component is in its life."""
        return self._state

    def set_state(self, state: State) -> None:
        """Enter a state; the metric `covey_state` follows."""
        self._state = state
        if self._metrics is not None:
            self._metrics.set_state(state)

    def heartbeat(self, name: str, *, bound_seconds: float) -> Heartbeat:
        """Register a task that will touch the returned heartbeat at least every `bound_seconds` from now on."""
        self._make_room(name, self._heartbeats)
        beat = Heartbeat(self._clock, bound_seconds)
        self._heartbeats[name] = beat
        return beat

    def forget(self, name: str) -> None:
        """Take back a heartbeat or check whose task has ended on purpose."""
        self._heartbeats.pop(name, None)
        self._checks.pop(name, None)

    def require(self, name: str, check: Callable[[], str | None]) -> None:
        """Register something without which the component is not ready: `check` returns why not, or None."""
        self._make_room(name, self._checks)
        self._checks[name] = check

    def ready(self) -> Report:
        """Return whether the component should get work."""
        reasons = {name: reason for name, check in self._checks.items() if (reason := check()) is not None}
        if self._state is not State.READY:
            reasons["state"] = f"the component is {self._state.value}"
        return Report(ok=not reasons, state=self._state, reasons=reasons)

    def alive(self) -> Report:
        """Return whether the component should go on running; a supervisor restarts it when not."""
        late = {name: beat.late_seconds() for name, beat in self._heartbeats.items()}
        reasons = {
            name: f"no heartbeat for {seconds:.1f} s over its bound" for name, seconds in late.items() if seconds
        }
        return Report(ok=not reasons, state=self._state, reasons=reasons)

    @staticmethod
    def _make_room(name: str, table: dict[str, Heartbeat] | dict[str, Callable[[], str | None]]) -> None:
        if name in table or len(table) >= _ROOM:
            raise ValueError(f"the check {name!r} is registered already, or more than {_ROOM} are")
