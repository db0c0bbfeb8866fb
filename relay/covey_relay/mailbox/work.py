"""Work that strangers do before a contact queue listens to them.

Owns: challenges (issued without remembering them, accepted once) and how much is due. Spec: docs/spec/mailbox.md,
"Work". Never touches: the clock and randomness (callers pass both), queues.
"""

import hashlib
import hmac
from collections import OrderedDict
from enum import Enum

from covey_core.errors import ProtocolViolation
from covey_core.limits import MAILBOX_WORK_BITS
from covey_core.wire.mailbox import Purpose, WorkProof
from covey_core.wire.mailbox_proof import Task, decode_task, encode_task, unmarked, work_fits
from covey_relay import limits


class WorkCheck(Enum):
    """What a relay makes of an answer."""

    GOOD = "good"
    BAD = "bad"
    FULL = "full"


def due_bits(*, asked: int, depth: int) -> int:
    """Return the bits due at a queue that asks for `asked` and holds `depth` messages: one more a doubling, from 16."""
    doublings = (depth // limits.MAILBOX_WORK_FREE_MESSAGES).bit_length()
    return min(MAILBOX_WORK_BITS, max(asked, limits.MAILBOX_WORK_BITS) + doublings)


class WorkDesk:
    """Issues challenges and accepts each answer once. `key`: 32 secret bytes that need not outlive the process."""

    def __init__(self, *, key: bytes, spent_max: int = limits.MAILBOX_WORK_SPENT) -> None:
        self._key = key
        self._spent_max = spent_max
        self._spent: OrderedDict[bytes, int] = OrderedDict()  # random part, until; in the order of use

    def __len__(self) -> int:
        """Return how many used challenges are remembered."""
        return len(self._spent)

    def issue(self, *, send_id: bytes, purpose: Purpose, bits: int, random: bytes, now: float) -> bytes:
        """Return a challenge (59 bytes) for a queue; `random`: 16 fresh random bytes; `now`: Unix seconds."""
        task = Task(purpose, bits, int(now) + limits.MAILBOX_WORK_SECONDS, random, bytes(32))
        mac = self._mac(encode_task(task), send_id)
        return encode_task(Task(task.purpose, task.bits, task.until, task.random, mac))

    def check(
        self, proof: WorkProof, *, send_id: bytes, purpose: Purpose, subject: bytes, due: int, now: float
    ) -> WorkCheck:
        """Judge an answer when `due` bits are due; a GOOD one is used up only by `spend`."""
        try:
            task = decode_task(proof.challenge)
        except ProtocolViolation:
            return WorkCheck.BAD
        genuine = hmac.compare_digest(task.mac, self._mac(proof.challenge, send_id))
        if not genuine or task.purpose is not purpose or task.until <= now or task.random in self._spent:
            return WorkCheck.BAD
        if task.bits + limits.MAILBOX_WORK_SLACK_BITS < due:
            return WorkCheck.BAD
        if not work_fits(proof.challenge, subject=subject, answer=proof.answer, bits=task.bits):
            return WorkCheck.BAD
        self._forget(now)
        return WorkCheck.GOOD if len(self._spent) < self._spent_max else WorkCheck.FULL

    def spend(self, proof: WorkProof, *, now: float) -> bool:
        """Use a challenge up, right before its command is done; False when it is used or over meanwhile."""
        self._forget(now)
        task = decode_task(proof.challenge)
        if task.random in self._spent or task.until <= now or len(self._spent) >= self._spent_max:
            return False
        self._spent[task.random] = task.until
        return True

    def give_back(self, proof: WorkProof) -> None:
        """Take `spend` back: its command was not done after all."""
        self._spent.pop(decode_task(proof.challenge).random, None)

    def _mac(self, challenge: bytes, send_id: bytes) -> bytes:
        return hmac.digest(self._key, unmarked(challenge) + send_id, hashlib.sha256)

    def _forget(self, now: float) -> None:
        """Forget what is over, in the order of use: some are kept up to twice their time, none too short."""
        while self._spent:
            random, until = next(iter(self._spent.items()))
            if until > now:
                return
            del self._spent[random]
