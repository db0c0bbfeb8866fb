"""What the store's outcomes are called on the wire.

Owns: the answers, the counts of what became of messages, giving work back that was not used. Spec:
docs/spec/mailbox.md, "Frames". Never touches: streams, the store, the clock.
"""

from collections.abc import Callable
from typing import Final

from covey_core.wire import mailbox as m
from covey_relay import limits
from covey_relay.limits import MailboxLimits
from covey_relay.mailbox import operations as op
from covey_relay.mailbox.case import Case, MailboxEvent
from covey_relay.mailbox.disk import Disk
from covey_relay.mailbox.operations import Refusal
from covey_relay.mailbox.work import WorkDesk

_KEYS_LEFT_MAX: Final = 255
_AUTH: Final = m.Refused(m.Reason.AUTH)
_FULL: Final = m.Refused(m.Reason.BUSY, limits.MAILBOX_FULL_RETRY_SECONDS)
_FAILED: Final = m.Refused(m.Reason.BUSY, limits.MAILBOX_FAILED_RETRY_SECONDS)

_REFUSED: Final = {
    Refusal.GONE: _AUTH,
    Refusal.TOKEN: _AUTH,
    Refusal.QUOTA: m.Refused(m.Reason.QUOTA),
    Refusal.QUEUES: _FULL,
    Refusal.DISK: _FULL,
    Refusal.EMPTY: m.Refused(m.Reason.EMPTY),
}


class Outcomes:
    """Answers the cases whose operations were done."""

    def __init__(
        self, bounds: MailboxLimits, *, disk: Disk, desk: WorkDesk, happened: Callable[[MailboxEvent, int], None]
    ) -> None:
        self._bounds = bounds
        self._disk = disk
        self._desk = desk
        self._happened = happened

    def conclude(self, case: Case, outcome: op.Outcome) -> None:
        """Give the case the answer that its operation's outcome means."""
        if isinstance(outcome, Refusal):
            self._give_back_work(case)
            if outcome in {Refusal.QUOTA, Refusal.DISK}:
                self._happened(MailboxEvent(outcome.value), 1)
            case.answer = _REFUSED[outcome]
        else:
            case.answer = self._answered(case, outcome)

    def failed(self, case: Case) -> None:
        """Answer a case that the store has not done since it failed."""
        if case.answer is None:
            self._give_back_work(case)
            case.answer = _FAILED

    def _give_back_work(self, case: Case) -> None:
        if case.work is not None:
            self._desk.give_back(case.work)

    def _answered(self, case: Case, outcome: op.Outcome) -> m.Answer:
        match outcome:
            case op.Created(recv_id, send_id):
                bounds = self._bounds
                return m.Ids(recv_id, send_id, bounds.queue_messages, bounds.queue_bytes, bounds.ttl_seconds)
            case op.Deposited(seq, new):
                if new and isinstance(case.request.command, m.Put):
                    self._disk.grew(len(case.request.command.blob))
                    self._happened(MailboxEvent.STORED, 1)
                return m.Stored(seq)
            case op.Fetched(messages, more):
                self._happened(MailboxEvent.DELIVERED, len(messages))
                return m.Messages(messages, more)
            case op.Taken(bundle, one_time, left):
                return m.Key(bundle, one_time, min(left, _KEYS_LEFT_MAX))
            case tuple() as mids:
                return m.Held(mids)
            case int() as count:
                if isinstance(case.request.command, m.Ack):
                    self._happened(MailboxEvent.ACKED, count)
                return m.Done()
            case _:
                raise TypeError(f"no answer is made of a {type(outcome).__name__}")
