"""Acknowledgements to one relay: gathered for a moment, sent a queue at a time.

Owns: which messages are durable here and are still to be deleted there. Spec: docs/spec/mailbox.md, "Queues" (ACK).
Never touches: when a message may be acknowledged: after the commit, which is the caller's to know.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import trio

from covey_core.limits import MAILBOX_ACK_MIDS
from covey_core.wire.mailbox import Ack, Answer, Command, Reason, Refused
from covey_node import limits


class Acknowledging:
    """Has messages deleted; what a lost connection leaves undone is told again by the relay when it is read anew."""

    def __init__(
        self, call: Callable[[bytes, Command], Awaitable[Answer]], done: Callable[[bytes, Sequence[bytes]], None]
    ) -> None:
        """`call` asks the relay with the seed of a queue's owner; `MailboxUnreachable` is the caller's of `run`.

        `done` is told what lies in a queue (its recv_id) no more.
        """
        self._call = call
        self._done = done
        self._waiting: dict[bytes, dict[bytes, None]] = {}  # mids (16 bytes) by recv_id
        self._count = 0
        self._some = trio.Event()
        self._room = trio.Event()
        self.seeds: dict[bytes, bytes] = {}  # of queues' owners, by recv_id

    def add(self, recv_id: bytes, mids: Sequence[bytes], *, certain: bool = True) -> None:
        """Have messages deleted; those that need not lie there (not `certain`) only while there is room."""
        if not mids or (not certain and self._count >= limits.MAILBOX_ACKS_WAITING):
            return
        waiting = self._waiting.setdefault(recv_id, {})
        before = len(waiting)
        waiting.update(dict.fromkeys(mids))
        self._count += len(waiting) - before
        self._some.set()

    async def wait_add(self, recv_id: bytes, mids: Sequence[bytes]) -> None:
        """Have messages deleted; wait while too many wait already."""
        while self._count >= limits.MAILBOX_ACKS_WAITING:
            await self._room.wait()
        self.add(recv_id, mids)

    def forget(self) -> None:
        """Forget what waits and whose queues these are: the connection is lost, all is told anew on the next one."""
        self._waiting.clear()
        self._count = 0
        self.seeds.clear()
        self._room.set()

    async def run(self) -> None:
        """Send until cancelled; raise when the relay does not answer."""
        while True:
            await self._some.wait()
            await trio.sleep(limits.MAILBOX_ACK_GATHER_SECONDS)
            self._some = trio.Event()
            taken, self._waiting, self._count = self._waiting, {}, 0
            room, self._room = self._room, trio.Event()
            room.set()
            at_once = trio.CapacityLimiter(limits.MAILBOX_CALLS_AT_ONCE)
            async with trio.open_nursery() as nursery:
                for recv_id, mids in taken.items():
                    nursery.start_soon(self._send, recv_id, tuple(mids), at_once)

    async def _send(self, recv_id: bytes, mids: tuple[bytes, ...], at_once: trio.CapacityLimiter) -> None:
        seed = self.seeds.get(recv_id)
        if seed is None:
            return
        for start in range(0, len(mids), MAILBOX_ACK_MIDS):
            page = mids[start : start + MAILBOX_ACK_MIDS]
            async with at_once:
                answer = await self._call(seed, Ack(recv_id, page))
            while isinstance(answer, Refused) and answer.reason is Reason.BUSY:
                await trio.sleep(answer.retry_after_seconds or limits.MAILBOX_BUSY_SECONDS)
                async with at_once:
                    answer = await self._call(seed, Ack(recv_id, page))
            self._done(recv_id, page)
