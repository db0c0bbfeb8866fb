"""Room for a bounded number of open lanes: who has nothing to say makes way for who has.

Owns: the count, and which lanes are idle. Spec: docs/spec/delivery.md, "One lane a device".
Never touches: streams, what is sent.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import trio


class Slots:
    """`count` slots. A lane holds one for as long as its stream is open."""

    def __init__(self, count: int) -> None:
        self._limiter = trio.CapacityLimiter(count)
        self._idle: dict[trio.CancelScope, None] = {}

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        """Hold a slot for the block; when there is none, the lane that is idle for longest ends its wait."""
        if not self._limiter.available_tokens and self._idle:
            longest = next(iter(self._idle))
            del self._idle[longest]
            longest.cancel()
        async with self._limiter:
            yield

    @contextmanager
    def idle(self, scope: trio.CancelScope) -> Iterator[None]:
        """Be idle for the block: `scope`, around it, is cancelled when the slot is wanted."""
        self._idle[scope] = None
        if self._limiter.statistics().tasks_waiting:
            scope.cancel()
        try:
            yield
        finally:
            self._idle.pop(scope, None)
