"""A request on its way through the relay, from the stream on which it came back to it.

Owns: the values. Spec: docs/spec/mailbox.md. Never touches: what becomes of it (reception.py, clerk.py, outcomes.py),
randomness (callers pass it).
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import Enum

from covey_core.peers import PeerId
from covey_core.wire import mailbox as m
from covey_core.wire.mailbox_forward import ANSWER_NONCE_BYTES, ForwardSeal, seal_answer
from covey_relay.mailbox.operations import Operation
from covey_relay.mailbox.policy import Queue


class MailboxEvent(Enum):
    """What became of messages, and what was refused (METRICS.md)."""

    STORED = "stored"
    DELIVERED = "delivered"
    ACKED = "acked"
    EXPIRED = "expired"
    QUOTA = "quota"
    DISK = "disk"
    POW_REJECTED = "pow_rejected"


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, and what its signatures are good for.

    `groups`: what counts as its address. `nonce`: of its stream, or the ephemeral key of a sealed command. `is_listed`:
    a relay of the network file, which forwards for many.
    """

    peer: PeerId
    groups: frozenset[Hashable]
    nonce: bytes
    is_listed: bool = False
    forwarded: bool = False


@dataclass(slots=True, eq=False)
class Case:
    """One request: it has an answer in the end, and until then perhaps an operation to be done.

    `begun`: when it had come whole. `size`: bytes of its frame. `work`: what is used up by it.
    """

    request: m.Request
    asker: Asker
    begun: float
    reply_id: int
    size: int = 0
    seal: ForwardSeal | None = None
    queue: Queue | None = None
    work: m.WorkProof | None = None
    operation: Operation | None = None
    answer: m.Answer | None = None

    def response(self, *, random: Callable[[int], bytes]) -> m.Response:
        """Return what leaves, once there is an answer. `random(n)` returns n random bytes: a seal needs a new nonce."""
        assert self.answer is not None  # noqa: S101 - rounds answer every case
        if self.seal is None:
            return m.Response(self.reply_id, self.answer)
        return m.Response(
            self.reply_id, m.Forwarded(seal_answer(self.seal, self.answer, nonce=random(ANSWER_NONCE_BYTES)))
        )
