"""Tasks that last as long as the node: an error that nobody foresaw ends one of them for a while, not the process.

Owns: that guard, its pauses and its log line. Spec: docs/adr/0057-direct-connections-read-as-an-attacker.md.
Never touches: what the tasks do. Each may be begun anew at any time: what it knows is elsewhere, or learned again.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import trio

from covey_core.host.contained import Contained, kind_of, note_unforeseen, place_of
from covey_core.logs import get_logger
from covey_core.metrics import Unforeseen
from covey_node import limits
from covey_node.protocol.backoff import Backoff

log = get_logger("node.tasks")

_PAUSE = Backoff(limits.TASK_AGAIN_SECONDS, limits.TASK_AGAIN_SECONDS_MAX)


async def lasting(name: str, run: Callable[[], Awaitable[object]]) -> None:
    """Run until it returns or is cancelled; when it fails, run it again after a pause, longer from time to time."""
    failures = 0
    while True:
        began = trio.current_time()
        error = await failed(name, run)
        if error is None:
            return
        if trio.current_time() - began > limits.TASK_AGAIN_SECONDS_MAX:
            failures = 0
        failures += 1
        await trio.sleep(_PAUSE.wait_seconds(failures, random=random.random))


async def failed(name: str, run: Callable[[], Awaitable[object]]) -> Exception | None:
    """Run once; return the error that nobody foresaw, after it was logged by its kind and place, else None."""
    with Contained() as outcome:
        await run()
    if outcome.error is not None:
        note(name, outcome.error)
    return outcome.error


def note(name: str, error: BaseException) -> None:
    """Log and count an error of a task: its text may hold anything, and is left out."""
    note_unforeseen(Unforeseen.TASK)
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    log.error("node.task.failed", task=name, error=kind_of(error), place=place_of(error))
