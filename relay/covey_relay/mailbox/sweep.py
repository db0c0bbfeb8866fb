"""What is over goes by itself: messages, remembered ids, idle queues, and the disk that they took.

Owns: when the store is swept, in which steps, and what is measured of it. Spec: docs/spec/mailbox.md, "Queues". Never
touches: streams, tables.
"""

from collections.abc import Callable

import trio

from covey_relay import limits
from covey_relay.limits import MailboxLimits
from covey_relay.mailbox import operations as op
from covey_relay.mailbox.case import MailboxEvent
from covey_relay.mailbox.complaints import STORE_ERRORS, Complaints
from covey_relay.mailbox.disk import Disk
from covey_relay.mailbox.line import MailboxLine
from covey_relay.mailbox.subscriptions import Subscriptions
from covey_relay.mailbox_metrics import MailboxMetrics


class Sweeper:
    """Sweeps one store until cancelled. `wall_clock` gives Unix seconds."""

    def __init__(
        self,
        line: MailboxLine,
        disk: Disk,
        bounds: MailboxLimits,
        subscriptions: Subscriptions,
        complaints: Complaints,
        *,
        metrics: MailboxMetrics,
        wall_clock: Callable[[], float],
    ) -> None:
        self._line = line
        self._disk = disk
        self._bounds = bounds
        self._subscriptions = subscriptions
        self._complaints = complaints
        self._metrics = metrics
        self._wall_clock = wall_clock
        self._sweeps = 0

    async def run(self) -> None:
        """Sweep every 15 s; a store that fails is tried again the next time."""
        while True:
            await trio.sleep(limits.MAILBOX_SWEEP_SECONDS)
            await self.sweep()

    async def sweep(self) -> None:
        """Delete what is over, give disk back, and measure. Never raises for what the store does."""
        try:
            await self._sweep()
        except STORE_ERRORS as exc:
            self._complaints.failed(exc)
            return
        if self._complaints.works():
            self._subscriptions.wake_all()  # pushes may have been missed meanwhile

    async def _sweep(self) -> None:
        self._sweeps += 1
        gone = await self._expire()
        if gone or self._sweeps % limits.MAILBOX_GIVE_BACK_SWEEPS == 0:
            await self._give_back()
        usage = await self._line.outside(lambda store: store.usage())
        self._disk.measured(usage, now=trio.current_time())
        longest = self._bounds.ttl_seconds
        ends_in = longest if usage.earliest_end is None else usage.earliest_end - self._wall_clock()
        self._metrics.stands(
            used_bytes=usage.used_bytes, queues=usage.queues, oldest_seconds=max(0.0, longest - ends_in)
        )
        self._metrics.subscribed(len(self._subscriptions))

    async def _expire(self) -> int:
        gone, more = 0, True
        while more:
            outcome = await self._line.do(op.Expire(limits.MAILBOX_EXPIRED_AT_ONCE))
            assert isinstance(outcome, op.Expired)  # noqa: S101 - the outcome of its operation
            self._metrics.happened(MailboxEvent.EXPIRED, outcome.messages)
            gone += outcome.messages + outcome.queues
            if outcome.queues:
                self._subscriptions.wake_all()  # which ends those of queues that are gone
            more = outcome.more
        return gone

    async def _give_back(self) -> None:
        most = limits.MAILBOX_GIVEN_BACK_AT_ONCE_BYTES
        while await self._line.outside(lambda store: store.give_back(bytes_max=most)):
            await trio.lowlevel.checkpoint()
