"""How many streams may have pages of messages in memory at once: those who read slowly do not fill it for all.

Owns: the turns, in all and by address. Spec: docs/spec/mailbox.md, "Limits". Never touches: pages, streams.
"""

from collections.abc import AsyncIterator, Hashable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import trio

from covey_relay import limits


class Turns:
    """Turns to fetch pages and write them; a stream has one at most, and keeps it until they are written."""

    def __init__(self, *, most: int = limits.MAILBOX_TURNS, of_address: int = limits.MAILBOX_TURNS_PER_ADDRESS) -> None:
        self._all = trio.Semaphore(most)
        self._of_address = of_address
        self._groups: Final[dict[Hashable, trio.Semaphore]] = {}
        self._users: Final[dict[Hashable, int]] = {}

    def __len__(self) -> int:
        """Return how many addresses hold turns or wait for them."""
        return len(self._groups)

    @asynccontextmanager
    async def take(self, groups: Iterable[Hashable]) -> AsyncIterator[None]:
        """Have a turn for the length of the block: first of those of the address, then of all."""
        async with AsyncExitStack() as stack:
            for group in sorted(groups, key=repr):  # the same order for all: nobody waits in a circle
                await stack.enter_async_context(self._of(group))
            await stack.enter_async_context(self._all)
            yield

    @asynccontextmanager
    async def _of(self, group: Hashable) -> AsyncIterator[None]:
        self._users[group] = self._users.get(group, 0) + 1
        try:
            async with self._groups.setdefault(group, trio.Semaphore(self._of_address)):
                yield
        finally:
            self._users[group] -= 1
            if not self._users[group]:
                del self._users[group], self._groups[group]
