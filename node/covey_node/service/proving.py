"""What a relay asks of strangers before it listens: a token's secret, or work.

Owns: the search for an answer, in a thread beside everything else. Spec: docs/spec/mailbox.md, "Work";
docs/spec/first-contact.md. Never touches: which queue is written to, the database.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import trio

from covey_core.errors import ProtocolViolation
from covey_core.wire.mailbox import (
    Answer,
    Challenge,
    Command,
    Proof,
    Purpose,
    Put,
    Reason,
    Refused,
    SecretProof,
    Take,
    Work,
)
from covey_node.net.mailbox import At, MailboxClient, MailboxUnreachable, Role
from covey_node.protocol.work import WorkSearch

Working = Callable[[int], Awaitable[None]]
"""Told before a search begins how many bits are asked for."""

_STALE_CHALLENGES = 2  # the queue may fill, or a challenge end, while we work: then once more


@dataclass(slots=True)
class Prover:
    """Asks commands of strangers' kind. One search at a time: they share a core with everything else."""

    client: MailboxClient
    _searches: trio.Semaphore = field(default_factory=lambda: trio.Semaphore(1))

    async def take(self, at: At, send_id: bytes, subject: bytes, *, secret: bytes | None, working: Working) -> Answer:
        """Take keys from a queue; `subject`: 16 random bytes. `secret` (32 bytes) admits, without it work does.

        `MailboxUnreachable`; refusals are answers.
        """

        def command(proof: Proof | None) -> Command:
            return Take(send_id, subject, proof)

        return await self._ask(at, send_id, Purpose.TAKE, subject, command, secret, working)

    async def put(
        self,
        at: At,
        send_id: bytes,
        mid: bytes,
        blob: bytes,
        *,
        ttl_seconds: int,
        secret: bytes | None,
        working: Working,
    ) -> Answer:
        """Deposit a blob, as above."""

        def command(proof: Proof | None) -> Command:
            return Put(send_id, mid, ttl_seconds, blob, proof)

        return await self._ask(at, send_id, Purpose.PUT, mid, command, secret, working)

    async def _ask(
        self,
        at: At,
        send_id: bytes,
        purpose: Purpose,
        subject: bytes,
        command: Callable[[Proof | None], Command],
        secret: bytes | None,
        working: Working,
    ) -> Answer:
        if secret is not None:
            return await self._call(at, send_id, command(SecretProof(secret)))
        answer: Answer = Refused(Reason.WORK)
        for _ in range(_STALE_CHALLENGES):
            challenge = await self._call(at, send_id, Work(send_id, purpose))
            if not isinstance(challenge, Challenge):
                return challenge
            try:
                search = WorkSearch(challenge.challenge, subject=subject, purpose=purpose)
                await working(search.bits)
                proof = await self._search(search)
            except ProtocolViolation as exc:
                raise MailboxUnreachable(f"the relay asks for work that cannot be done: {exc}") from exc
            answer = await self._call(at, send_id, command(proof))
            if answer != Refused(Reason.WORK):
                return answer
        return answer

    async def _search(self, search: WorkSearch) -> Proof:
        async with self._searches:
            while not search.hopeless:
                found = await trio.to_thread.run_sync(search.step)  # cancelled between two steps of 20 ms
                if found is not None:
                    return found
        raise ProtocolViolation(f"no answer of {search.bits} bits among {math.log2(search.tried):.0f} bits' worth")

    async def _call(self, at: At, send_id: bytes, command: Command) -> Answer:
        return await self.client.call(at, command, role=Role.SEND, seed=None, queue=send_id)
