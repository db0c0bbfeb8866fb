"""From start to exit code: the life of a component's process.

Owns: signals, the bound on a shutdown, what becomes of errors. Never touches: what the component does.

SIGTERM or SIGINT sets `Lifecycle.stopping`; a second signal, or 8 s, cancels; 9.5 s after the signal the process ends
(exit code 1, with the stacks of all threads) even when a thread or a shielded block is stuck. State is durable before
it is acted on, so no end loses any.
"""

import contextlib
import faulthandler
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from types import FrameType
from typing import Final, Protocol, TypeVar

import trio

from covey_core import limits
from covey_core.errors import CoveyError

_Value_contra = TypeVar("_Value_contra", contravariant=True)

_STDERR: Final = 2

EXIT_OK: Final = 0
EXIT_ERROR: Final = 1
"""Something the user must mend; the message on standard error says what."""
EXIT_INTERRUPTED: Final = 130
"""Ctrl-C in a command that has no shutdown of its own (128 + SIGINT, as shells count)."""
EXIT_INTERNAL: Final = 70
"""A mistake in this software (sysexits EX_SOFTWARE); a traceback is on standard error."""


class TaskStatus(Protocol[_Value_contra]):
    """What `nursery.start` passes to a task. Stands for trio.TaskStatus, which the stubs that libp2p brings lack."""

    def started(self, value: _Value_contra, /) -> None:
        """Say that the task is up, and hand `value` to the one who started it."""


class Lifecycle:
    """What a component's main function gets: it works until `stopping` is set, then finishes in good order."""

    def __init__(self) -> None:
        self.stopping = trio.Event()

    def stop(self) -> None:
        """Begin the shutdown, as SIGTERM does."""
        self.stopping.set()


def run_component(main: Callable[[Lifecycle], Awaitable[None]]) -> int:
    """Run `main` under trio and return the process's exit code.

    0 when it returned or was stopped by a signal; 1 when it raised `CoveyError` (its text goes to standard error);
    70 with a traceback for anything else.
    """
    return run_guarded(partial(_run, main))


def run_guarded(function: Callable[[], int]) -> int:
    """Return what `function` returns, or the exit code for what it raised; for entry points without trio as well."""
    try:
        return function()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except (Exception, BaseExceptionGroup) as exc:  # noqa: BLE001 - the edge of the process: every error gets its exit code
        return _report(exc)


def _nothing() -> None:
    """Before trio runs nobody can be told."""


class _Signals:
    """Counts SIGTERM and SIGINT from before trio starts until the process is gone, and tells the component."""

    def __init__(self) -> None:
        self._count = 0
        self._token: trio.lowlevel.TrioToken | None = None
        self._first: Callable[[], None] = _nothing
        self._second: Callable[[], None] = _nothing

    def install(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._receive)

    def attach(self, *, first: Callable[[], None], second: Callable[[], None]) -> None:
        self._first, self._second = first, second
        self._token = trio.lowlevel.current_trio_token()
        self._deliver()  # what came before trio ran

    def _receive(self, _number: int, _frame: FrameType | None) -> None:
        self._count += 1
        if self._count == 1:
            _end_for_sure()
        if self._token is not None:
            with contextlib.suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._deliver)

    def _deliver(self) -> None:
        if self._count > 0:
            self._first()
        if self._count > 1:
            self._second()


def _run(main: Callable[[Lifecycle], Awaitable[None]]) -> int:
    signals = _Signals()
    signals.install()
    trio.run(_main, main, signals, strict_exception_groups=True)
    return EXIT_OK


async def _main(main: Callable[[Lifecycle], Awaitable[None]], signals: _Signals) -> None:
    lifecycle = Lifecycle()
    again = trio.Event()
    async with trio.open_nursery() as nursery:
        signals.attach(first=lifecycle.stop, second=again.set)
        nursery.start_soon(_bound, lifecycle, again, nursery.cancel_scope)
        await main(lifecycle)
        nursery.cancel_scope.cancel()


async def _bound(lifecycle: Lifecycle, again: trio.Event, scope: trio.CancelScope) -> None:
    await lifecycle.stopping.wait()
    with trio.move_on_after(limits.SHUTDOWN_SECONDS):
        await again.wait()
    scope.cancel()


def _end_for_sure() -> None:
    # A thread of the interpreter's own C code: it needs no lock that the interrupted code may hold (threading.Timer
    # does), ends the process also when Python code is stuck, and prints where each thread was.
    faulthandler.dump_traceback_later(limits.SHUTDOWN_HARD_SECONDS, exit=True, file=_STDERR)


def _report(error: BaseException) -> int:
    leaves = list(_leaves(error))
    if all(isinstance(leaf, CoveyError) for leaf in leaves):
        for text in dict.fromkeys(str(leaf) for leaf in leaves):
            sys.stderr.write(f"error: {text}\n")
        return EXIT_ERROR
    traceback.print_exception(error, file=sys.stderr)
    return EXIT_INTERNAL


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
