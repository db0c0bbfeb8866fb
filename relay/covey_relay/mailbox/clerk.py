"""Whether a command may be done, and what is to be done then.

Owns: which queue is looked up for a command, and what all that stands in its way is asked: signature, secret or work,
pace, disk. Spec: docs/spec/mailbox.md. Never touches: streams, the store (round.py asks it), the clock and randomness
(callers pass both). `now` is Unix seconds, `clock` any clock that never goes back.
"""

from collections.abc import Callable
from typing import Final

from covey_core.peers import PeerId
from covey_core.wire import mailbox as m
from covey_core.wire.mailbox_bounds import QUEUE_ID_BYTES
from covey_core.wire.mailbox_proof import signed_command
from covey_relay import limits
from covey_relay.limits import MailboxLimits
from covey_relay.mailbox import operations as op
from covey_relay.mailbox import policy
from covey_relay.mailbox.case import Case, MailboxEvent
from covey_relay.mailbox.disk import Disk
from covey_relay.mailbox.operations import Operation
from covey_relay.mailbox.pace import Pace
from covey_relay.mailbox.policy import Allowed, Queue, Traffic
from covey_relay.mailbox.reception import busy
from covey_relay.mailbox.work import WorkDesk, due_bits

_AUTH: Final = m.Refused(m.Reason.AUTH)
_CHALLENGE_RANDOM_BYTES: Final = 16


class Clerk:
    """Judges the commands of all streams of one relay. `random(n)` returns n random bytes."""

    def __init__(
        self,
        relay: PeerId,
        *,
        bounds: MailboxLimits,
        disk: Disk,
        desk: WorkDesk,
        pace: Pace,
        random: Callable[[int], bytes],
        happened: Callable[[MailboxEvent, int], None],
    ) -> None:
        self._relay = relay
        self._bounds = bounds
        self._disk = disk
        self._desk = desk
        self._random = random
        self._happened = happened
        self._pace = pace

    def look_up(self, case: Case) -> Operation | None:
        """Return what to ask the store before the case is judged; None when there is nothing to ask."""
        match case.request.command:
            case m.Put(send_id, mid):
                return op.FindWritten(send_id, mid)
            case m.Have(send_id) | m.Take(send_id) | m.Work(send_id):
                return op.FindWritten(send_id)
            case m.Get(recv_id) | m.Sub(recv_id) | m.Ack(recv_id) | m.Rot(recv_id) | m.Del(recv_id) | m.Stock(recv_id):
                return op.FindOwned(recv_id)
            case m.New() | m.Fwd():
                return None

    def judge(self, case: Case, found: op.Found | None, *, now: float, clock: float) -> None:
        """Give the case its answer, or the operation that is to be done. `found`: what the look-up brought."""
        case.queue = None if found is None else found.queue
        match case.request.command:
            case m.New() as command:
                verdict = self._judge_new(case, command, clock)
            case m.Put() as command:
                known = None if found is None else found.known
                verdict = self._judge_put(case, command, known, now=now, clock=clock)
            case m.Take() as command:
                verdict = self._judge_take(case, command, now=now, clock=clock)
            case m.Have(send_id, mids):
                allowed = policy.judge_asker(case.queue, signed=self._signed(case), signature=case.request.signature)
                verdict = op.Held(send_id, mids) if isinstance(allowed, Allowed) else allowed
            case m.Work() as command:
                verdict = self._challenge(case, command, now=now, clock=clock)
            case m.Fwd():
                verdict = m.Refused(m.Reason.UNREACHABLE)
            case m.Get() | m.Sub() | m.Ack() | m.Rot() | m.Del() | m.Stock() as command:
                verdict = self._judge_owned(case, command)
        if isinstance(verdict, Operation):
            case.operation = verdict
        else:
            case.answer = verdict

    # --- owners -------------------------------------------------------------------------------------------------------

    def _judge_new(self, case: Case, command: m.New, clock: float) -> Operation | m.Answer:
        queue = Queue(command.recv_key, command.admit, 0)
        allowed = policy.judge_owner(queue, signed=self._signed(case), signature=case.request.signature)
        if isinstance(allowed, m.Refused):
            return allowed
        wait = self._pace.new_queue(case.asker, clock=clock)
        if wait > 0.0:
            return busy(wait)
        if (full := self._shed(Traffic.NEW)) is not None:
            return full
        fresh = self._random(2 * QUEUE_ID_BYTES)
        return op.Create(command.recv_key, command.admit, fresh[:QUEUE_ID_BYTES], fresh[QUEUE_ID_BYTES:])

    def _judge_owned(
        self, case: Case, command: m.Get | m.Sub | m.Ack | m.Rot | m.Del | m.Stock
    ) -> Operation | m.Answer:
        allowed = policy.judge_owner(case.queue, signed=self._signed(case), signature=case.request.signature)
        if isinstance(allowed, m.Refused):
            return allowed
        match command:
            case m.Get(recv_id, after, most):
                return op.Fetch(recv_id, after, most, limits.MAILBOX_PAGE_BYTES)
            case m.Sub():
                return m.Done()
            case m.Ack(recv_id, mids):
                return op.Acknowledge(recv_id, mids)
            case m.Rot(recv_id, admit):
                return op.Rotate(recv_id, admit)
            case m.Del(recv_id):
                return op.Remove(recv_id)
            case m.Stock(recv_id, keys, bundle):
                return self._shed(Traffic.CONTACT) or op.AddKeys(recv_id, keys, bundle)

    # --- writers ------------------------------------------------------------------------------------------------------

    def _judge_put(
        self, case: Case, command: m.Put, known: int | None, *, now: float, clock: float
    ) -> Operation | m.Answer:
        """Judge a deposit. One that is there already is answered so, to who may write; no proof is asked for again."""
        queue = case.queue
        if known is not None and queue is not None and not isinstance(queue.admit, m.AdmitKey):
            return m.Stored(known)
        allowed = self._judge_writer(case, command, m.Purpose.PUT, command.mid, now=now, clock=clock)
        if isinstance(allowed, m.Refused):
            return allowed
        if known is not None:
            return m.Stored(known)
        assert queue is not None  # noqa: S101 - nobody may write to a queue that is not there
        full = self._shed(policy.traffic_of(queue.admit, forwarded=case.asker.forwarded))
        if full is not None:
            return full
        if not self._use_work(case, allowed, now=now):
            return m.Refused(m.Reason.WORK)
        end = policy.expires_at(ttl_seconds=command.ttl_seconds, bounds=self._bounds, now=now)
        return op.Deposit(command.send_id, command.mid, command.blob, end, _send_key(queue), allowed.token)

    def _judge_take(self, case: Case, command: m.Take, *, now: float, clock: float) -> Operation | m.Answer:
        allowed = self._judge_writer(case, command, m.Purpose.TAKE, command.subject, now=now, clock=clock)
        if isinstance(allowed, m.Refused):
            return allowed
        if not self._use_work(case, allowed, now=now):
            return m.Refused(m.Reason.WORK)
        assert case.queue is not None  # noqa: S101 - as above
        return op.TakeKey(command.send_id, _send_key(case.queue), allowed.token)

    def _judge_writer(
        self, case: Case, command: m.Put | m.Take, purpose: m.Purpose, subject: bytes, *, now: float, clock: float
    ) -> Allowed | m.Refused:
        verdict = policy.judge_writer(
            case.queue,
            send_id=command.send_id,
            signed=self._signed(case),
            signature=case.request.signature,
            proof=command.proof,
            purpose=purpose,
            subject=subject,
            desk=self._desk,
            now=now,
        )
        if verdict == _AUTH or case.queue is None:
            return verdict  # before any limit: whether there is such a queue must not be seen
        if purpose is m.Purpose.TAKE or not isinstance(case.queue.admit, m.AdmitKey):
            wait = self._pace.stranger(case.asker, clock=clock)
            if wait > 0.0:
                return busy(wait)
        if isinstance(verdict, m.Refused) and verdict.reason is m.Reason.WORK:
            self._happened(MailboxEvent.POW_REJECTED, 1)
        return verdict

    def _challenge(self, case: Case, command: m.Work, *, now: float, clock: float) -> m.Answer:
        """Issue a challenge; for a queue that is not there or asks for no work one of the least bits."""
        wait = self._pace.stranger(case.asker, clock=clock)
        if wait > 0.0:
            return busy(wait)
        bits = due_bits(asked=0, depth=0)
        if case.queue is not None and isinstance(case.queue.admit, m.AdmitWork):
            bits = due_bits(asked=case.queue.admit.bits, depth=case.queue.depth)
        challenge = self._desk.issue(
            send_id=command.send_id,
            purpose=command.purpose,
            bits=bits,
            random=self._random(_CHALLENGE_RANDOM_BYTES),
            now=now,
        )
        return m.Challenge(challenge)

    # --- of several ---------------------------------------------------------------------------------------------------

    def _signed(self, case: Case) -> bytes:
        request = case.request
        return signed_command(relay=self._relay, nonce=case.asker.nonce, request_id=request.id, body=request.body)

    def _shed(self, traffic: Traffic) -> m.Refused | None:
        full = policy.shed(traffic, used_bytes=self._disk.used_bytes, cap_bytes=self._disk.cap_bytes)
        if full is not None:
            self._happened(MailboxEvent.DISK, 1)
        return full

    def _use_work(self, case: Case, allowed: Allowed, *, now: float) -> bool:
        if allowed.work is None:
            return True
        if not self._desk.spend(allowed.work, now=now):
            self._happened(MailboxEvent.POW_REJECTED, 1)
            return False
        case.work = allowed.work
        return True


def _send_key(queue: Queue) -> bytes | None:
    return queue.admit.send_key if isinstance(queue.admit, m.AdmitKey) else None
