"""The one place where any error of foreign code is caught: stream handlers, handshakes, libp2p's own tasks.

Owns: the guard, and who counts what it held back that nobody foresaw. Spec: docs/adr/0002 (a raising handler ended the
whole host). Never touches: `trio.Cancelled`, which is no `Exception` and passes through.
"""

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Final, Self

import trio

from covey_core.metrics import Unforeseen

_count: Final[ContextVar[Callable[[Unforeseen], None] | None]] = ContextVar("count", default=None)
"""Of the tasks of one process's component: they are many, and few of them know its metrics."""


class Contained:
    """`with Contained() as outcome:` runs a block whose errors must not go further; they stand in `outcome.error`."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        self.error = error
        return True


def shielded(seconds: float) -> trio.CancelScope:
    """Return a scope for a last word: cancellation from outside does not reach it, but it ends after `seconds`."""
    scope = trio.CancelScope(shield=True)
    scope.deadline = trio.current_time() + seconds
    return scope


@contextmanager
def counted(count: Callable[[Unforeseen], None] | None) -> Iterator[None]:
    """Have `count` called for errors that nobody foresaw in this block, and in the tasks that it starts.

    With None, whoever counted before the block goes on: a node's second host is opened so.
    """
    token = _count.set(count or _count.get())
    try:
        yield
    finally:
        _count.reset(token)


def note_unforeseen(source: Unforeseen) -> None:
    """Count such an error; its log line is the caller's."""
    count = _count.get()
    if count is not None:
        count(source)


def kind_of(error: BaseException) -> str:
    """Return the error's class: what a log may say about it (its text may hold addresses or worse)."""
    return type(error).__name__


def place_of(error: BaseException) -> str:
    """Return "module.py:123 function" of where the error was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return "unknown"
    last = frames[-1]
    return f"{last.filename.rpartition('/')[2]}:{last.lineno} {last.name}"


def system_error_in(error: BaseException | None) -> OSError | None:
    """Return the operating system's error at the root of what was raised, or None. libp2p and trio wrap it."""
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error
        deeper = error.__cause__ or error.__context__
        error = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else deeper
    return None
