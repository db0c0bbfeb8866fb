"""The search for an answer to a relay's challenge, a step at a time.

Owns: where the search stands and how long it may go on. Spec: docs/spec/mailbox.md, "Work". Never touches: threads (the
caller runs `step` in one), the clock, relays.
"""

from __future__ import annotations

from covey_core.errors import ProtocolViolation
from covey_core.limits import MAILBOX_WORK_BITS
from covey_core.wire.mailbox import Purpose, WorkProof
from covey_core.wire.mailbox_proof import decode_task, find_answer
from covey_node import limits


class TooMuchWork(ProtocolViolation):
    """A relay asked for more work than any may."""


class WorkSearch:
    """The search for what makes `challenge` (59 bytes) fit `subject` (16 bytes: the `mid`, or a TAKE's subject).

    `TooMuchWork` for more bits than the protocol knows; `ProtocolViolation` for a challenge of another purpose.
    """

    def __init__(self, challenge: bytes, *, subject: bytes, purpose: Purpose) -> None:
        task = decode_task(challenge)
        if task.bits > MAILBOX_WORK_BITS:
            raise TooMuchWork(f"work of {task.bits} bits, where {MAILBOX_WORK_BITS} is the most")
        if task.purpose is not purpose:
            raise ProtocolViolation("work for another purpose than the one asked for")
        self.bits = task.bits
        self._challenge = challenge
        self._subject = subject
        self._tried = 0

    @property
    def tried(self) -> int:
        """How many answers were tried; about 2**bits are needed."""
        return self._tried

    @property
    def hopeless(self) -> bool:
        """Whether so many were tried that something is wrong: chance alone does that once in 10**13 times."""
        return self._tried > limits.WORK_TRIES_FACTOR << self.bits

    def step(self) -> WorkProof | None:
        """Try `limits.WORK_STEP_TRIES` more answers, about 20 ms of a core; return the proof once it is found."""
        answer = find_answer(self._challenge, subject=self._subject, first=self._tried, tries=limits.WORK_STEP_TRIES)
        self._tried += limits.WORK_STEP_TRIES
        return None if answer is None else WorkProof(self._challenge, answer)
