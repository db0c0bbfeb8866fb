"""Requests that wait together are looked up together, judged, and done in one commit.

Owns: which requests of a stream go together, and their two ways to the store. Spec: docs/spec/mailbox.md, "A stream":
answers come in the order of the commands on a queue, and after the disk. Never touches: streams, what is allowed
(clerk.py), tables.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import trio

from covey_core.wire import mailbox as m
from covey_relay import limits
from covey_relay.mailbox import operations as op
from covey_relay.mailbox.case import Case
from covey_relay.mailbox.clerk import Clerk
from covey_relay.mailbox.complaints import STORE_ERRORS, Complaints
from covey_relay.mailbox.disk import Disk
from covey_relay.mailbox.line import MailboxLine
from covey_relay.mailbox.operations import Operation, Outcome
from covey_relay.mailbox.outcomes import Outcomes

_CHANGING: Final = (m.New, m.Rot, m.Del)
_GROWING: Final = (m.New, m.Put, m.Stock)


def next_round(pending: deque[Case]) -> list[Case]:
    """Take the requests that may be judged before any of them is done, from the front; one at least.

    A command that changes what a queue asks for ends a round, a message that came twice begins another one, and pages
    are few.
    """
    taken: list[Case] = []
    deposited: set[tuple[bytes, bytes]] = set()
    pages = 0
    while pending:
        command = pending[0].request.command
        if isinstance(command, m.Put):
            if (command.send_id, command.mid) in deposited:
                break
            deposited.add((command.send_id, command.mid))
        elif isinstance(command, m.Get):
            if pages == limits.MAILBOX_ROUND_PAGES:
                break
            pages += 1
        taken.append(pending.popleft())
        if isinstance(command, _CHANGING):
            break
    return taken


class Rounds:
    """The way of requests through the store. `changed(recv_key)`: a queue got a message, or is gone."""

    def __init__(
        self,
        line: MailboxLine,
        clerk: Clerk,
        outcomes: Outcomes,
        disk: Disk,
        complaints: Complaints,
        *,
        changed: Callable[[bytes], None],
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._line = line
        self._clerk = clerk
        self._outcomes = outcomes
        self._disk = disk
        self._complaints = complaints
        self._changed = changed
        self._wall_clock = wall_clock

    async def run(self, cases: Sequence[Case]) -> None:
        """Give each case its answer; what an answer says is on the disk. Never raises for what the store does."""
        try:
            await self._run(cases)
        except STORE_ERRORS as exc:
            self._complaints.failed(exc)
            for case in cases:
                self._outcomes.failed(case)

    async def _run(self, cases: Sequence[Case]) -> None:
        await self._measure_before(cases)
        asked = [(case, self._clerk.look_up(case)) for case in cases if case.answer is None]
        found = await self._do([lookup for _, lookup in asked if lookup is not None])
        answers = iter(found)
        for judged, (case, lookup) in enumerate(asked, start=1):
            outcome = None if lookup is None else next(answers)
            queue = outcome if isinstance(outcome, op.Found) else None
            self._clerk.judge(case, queue, now=self._wall_clock(), clock=trio.current_time())
            if judged % limits.MAILBOX_VERIFIED_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
        doing = [case for case in cases if case.operation is not None]
        outcomes = await self._do([case.operation for case in doing if case.operation is not None])
        for case, outcome in zip(doing, outcomes, strict=True):
            self._outcomes.conclude(case, outcome)
            if case.queue is not None and _is_to_be_told(case, outcome):
                self._changed(case.queue.recv_key)

    async def _do(self, operations: Sequence[Operation]) -> list[Outcome]:
        return await self._line.do_all(operations) if operations else []

    async def _measure_before(self, cases: Sequence[Case]) -> None:
        grows = any(isinstance(case.request.command, _GROWING) for case in cases)
        if grows and self._disk.measure_now(now=trio.current_time()):
            usage = await self._line.outside(lambda store: store.usage())
            self._disk.measured(usage, now=trio.current_time())


def _is_to_be_told(case: Case, outcome: Outcome) -> bool:
    if isinstance(outcome, op.Deposited):
        return outcome.new
    return isinstance(case.request.command, m.Del) and outcome is True
