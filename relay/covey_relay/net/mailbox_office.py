"""What all mailbox streams of a relay share: the way to the store, the subscriptions, the counts.

Owns: fetching for those who subscribed, and what is told of it. Spec: docs/spec/mailbox.md. Never touches: streams
(mailbox.py), tables, what is allowed (clerk.py).
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import trio

from covey_core.wire import mailbox as m
from covey_relay import limits
from covey_relay.mailbox import operations as op
from covey_relay.mailbox.case import Asker, Case, MailboxEvent
from covey_relay.mailbox.complaints import STORE_ERRORS, Complaints
from covey_relay.mailbox.line import MailboxLine
from covey_relay.mailbox.reception import Reception
from covey_relay.mailbox.round import Rounds
from covey_relay.mailbox.subscriptions import Subscription, Subscriptions
from covey_relay.mailbox_metrics import MailboxMetrics
from covey_relay.net.mailbox_turns import Turns

_NOTHING: Final = op.Fetched((), more=False)


class Office:
    """Shared by the streams of one relay. `wall_clock` gives Unix seconds."""

    def __init__(
        self,
        line: MailboxLine,
        reception: Reception,
        rounds: Rounds,
        subscriptions: Subscriptions,
        complaints: Complaints,
        *,
        forward: Callable[[m.Fwd, Asker], Awaitable[m.Answer]],
        metrics: MailboxMetrics,
        wall_clock: Callable[[], float],
    ) -> None:
        self.run_round: Final = rounds.run
        self.subscriptions: Final = subscriptions
        self.is_for_another: Final = reception.is_for_another
        self.forward: Final = forward
        self._line = line
        self._reception = reception
        self.turns: Final = Turns()
        self._complaints = complaints
        self._metrics = metrics
        self._wall_clock = wall_clock

    async def receive(self, request: m.Request, asker: Asker, *, size: int) -> Case:
        """Return the case of a request that has come whole in `size` bytes, once its asker's pace allows it.

        Who asks too fast waits here, and nothing more is read of him; who would have to wait long is told so.
        """
        while True:
            wait = self._reception.wait_seconds(asker, clock=trio.current_time())
            if wait == 0.0 or wait > limits.MAILBOX_PATIENCE_SECONDS:
                break
            await trio.sleep(wait)
        clock, now = trio.current_time(), self._wall_clock()
        return self._reception.receive(request, asker, size=size, wait=wait, now=now, clock=clock)

    async def fetch(self, due: Sequence[Subscription]) -> list[op.Fetched | None]:
        """Return a page for each subscription, None where the queue is gone. While the store fails, empty pages."""
        if not due:
            return []
        size = limits.MAILBOX_PUSHED_BYTES
        fetches = [op.Fetch(one.recv_id, one.after, limits.MAILBOX_PUSHED_MESSAGES, size) for one in due]
        try:
            outcomes = await self._line.do_all(fetches)
        except STORE_ERRORS as exc:
            self._complaints.failed(exc)
            return [_NOTHING for _ in due]
        pages = [outcome if isinstance(outcome, op.Fetched) else None for outcome in outcomes]
        self._metrics.happened(MailboxEvent.DELIVERED, sum(len(page.messages) for page in pages if page is not None))
        return pages

    def answered(self, case: Case) -> None:
        """Take note that a request has its answer."""
        self._metrics.answered(case.request.command, trio.current_time() - case.begun)
