"""Who may do what with a queue, and what is refused first when the disk fills.

Owns: the judgement on signatures, secrets and work, the order of shedding, the end of a message's time. Spec:
docs/spec/mailbox.md, "Queues", "Signatures", "Limits". Never touches: the clock (callers pass `now`), streams, the
store: what a queue is comes as a value, and the store checks again in its transaction what may have changed meanwhile.
"""

import hashlib
import hmac
from dataclasses import dataclass
from enum import Enum
from typing import Final

from covey_core.wire.mailbox import (
    Admit,
    AdmitKey,
    AdmitOpen,
    AdmitPassword,
    AdmitTokens,
    AdmitWork,
    Proof,
    Purpose,
    Reason,
    Refused,
    SecretProof,
    WorkProof,
)
from covey_core.wire.mailbox_proof import signature_fits
from covey_relay import limits
from covey_relay.limits import MailboxLimits
from covey_relay.mailbox.work import WorkCheck, WorkDesk, due_bits

_NOBODY: Final = bytes.fromhex("5866666666666666666666666666666666666666666666666666666666666666")
"""Ed25519's base point as a key: what a signature is checked with when there is no queue, so that it takes as long."""

_AUTH: Final = Refused(Reason.AUTH)
_WORK: Final = Refused(Reason.WORK)


class Traffic(Enum):
    """What takes disk, in the order in which it is refused."""

    NEW = "new"
    CONTACT = "contact"
    FORWARDED = "forwarded"
    ESTABLISHED = "established"


_SHED_FROM: Final = {
    Traffic.NEW: limits.MAILBOX_SHED_NEW,
    Traffic.CONTACT: limits.MAILBOX_SHED_CONTACT,
    Traffic.FORWARDED: limits.MAILBOX_SHED_FORWARDED,
    Traffic.ESTABLISHED: 1.0,
}


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue as the store knows it: `recv_key` 32 bytes, `depth` messages in it."""

    recv_key: bytes
    admit: Admit
    depth: int


@dataclass(frozen=True, slots=True)
class Allowed:
    """The command may be done. `token`: the hash to use up; `work`: the answer to use up; both in the same step."""

    token: bytes | None = None
    work: WorkProof | None = None


def shed(traffic: Traffic, *, used_bytes: int, cap_bytes: int) -> Refused | None:
    """Return the refusal of something that would take disk, None while there is room for its kind."""
    if used_bytes < cap_bytes * _SHED_FROM[traffic]:
        return None
    return Refused(Reason.BUSY, limits.MAILBOX_FULL_RETRY_SECONDS)


def traffic_of(admit: Admit, *, forwarded: bool) -> Traffic:
    """Return what a deposit counts as: a forwarded one on a contact queue as the first to be refused of both."""
    if not isinstance(admit, AdmitKey):
        return Traffic.CONTACT
    return Traffic.FORWARDED if forwarded else Traffic.ESTABLISHED


def expires_at(*, ttl_seconds: int, bounds: MailboxLimits, now: float) -> int:
    """Return the end of a message's time (Unix seconds), rounded up to an hour; never over the relay's own bound."""
    end = int(now) + min(ttl_seconds, bounds.ttl_seconds)
    step = limits.MAILBOX_EXPIRY_STEP_SECONDS
    return -(-end // step) * step


def judge_owner(queue: Queue | None, *, signed: bytes, signature: bytes) -> Allowed | Refused:
    """Whether this is the owner's command. Without a queue the answer is the same, and takes as long."""
    key = _NOBODY if queue is None else queue.recv_key
    fits = signature_fits(key=key, signed=signed, signature=signature or bytes(64))
    return Allowed() if fits and queue is not None else _AUTH


def judge_writer(
    queue: Queue | None,
    *,
    send_id: bytes,
    signed: bytes,
    signature: bytes,
    proof: Proof | None,
    purpose: Purpose,
    subject: bytes,
    desk: WorkDesk,
    now: float,
) -> Allowed | Refused:
    """Whether this PUT or TAKE may be done, as far as the queue asks; quota is the store's to see.

    A queue that nobody made is refused like one with a key whose signature does not fit; a signature is checked in
    every case, so that it takes as long.
    """
    admit = None if queue is None else queue.admit
    key = admit.send_key if isinstance(admit, AdmitKey) else _NOBODY
    fits = signature_fits(key=key, signed=signed, signature=signature or bytes(64))
    match admit:
        case None:
            return _AUTH
        case AdmitKey():
            return Allowed() if fits else _AUTH
        case AdmitOpen():
            return Allowed()
        case AdmitPassword(secret_hash):
            return Allowed() if _knows(proof, secret_hash) else _AUTH
        case AdmitTokens(secret_hashes):
            known = [one for one in secret_hashes if _knows(proof, one)]
            return Allowed(token=known[0]) if known else _AUTH
        case AdmitWork(bits):
            assert queue is not None  # noqa: S101 - an admission comes with its queue
            if not isinstance(proof, WorkProof):
                return _WORK
            due = due_bits(asked=bits, depth=queue.depth)
            check = desk.check(proof, send_id=send_id, purpose=purpose, subject=subject, due=due, now=now)
            return _judged_work(check, proof)


def judge_asker(queue: Queue | None, *, signed: bytes, signature: bytes) -> Allowed | Refused:
    """Whether this HAVE may be answered: only to who writes with a key; strangers must not watch a queue."""
    key = queue.admit.send_key if queue is not None and isinstance(queue.admit, AdmitKey) else None
    fits = signature_fits(key=key or _NOBODY, signed=signed, signature=signature or bytes(64))
    return Allowed() if fits and key is not None else _AUTH


def _judged_work(check: WorkCheck, proof: WorkProof) -> Allowed | Refused:
    match check:
        case WorkCheck.GOOD:
            return Allowed(work=proof)
        case WorkCheck.BAD:
            return _WORK
        case WorkCheck.FULL:
            return Refused(Reason.BUSY, limits.MAILBOX_WORK_SECONDS)


def _knows(proof: Proof | None, secret_hash: bytes) -> bool:
    if not isinstance(proof, SecretProof):
        return False
    return hmac.compare_digest(hashlib.sha256(proof.secret).digest(), secret_hash)
