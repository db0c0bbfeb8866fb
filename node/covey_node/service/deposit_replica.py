"""One mailbox of a contact's device at work: packets laid down, asked for, laid down again.

Owns: the calls to one queue. Spec: docs/spec/delivery.md, "Mailboxes"; docs/spec/mailbox.md. What comes next is decided
by protocol/replication.py, the database's side is deposit_book.py. Never touches: how a relay is reached (the client).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import trio

from covey_core.errors import CoveyError
from covey_core.wire.mailbox import Answer, Command, Have, Held, Put, Reason, Refused, Stored
from covey_node import limits
from covey_node.crypto.replica import ReplicaKeys
from covey_node.net.alarm import Alarm
from covey_node.net.mailbox import At, Role
from covey_node.protocol import replication
from covey_node.protocol.replication import Replica, missed
from covey_node.service.deposit_book import DepositBook
from covey_node.service.deposit_room import Share
from covey_node.store.deposits import Waiting

GONE = "the mailbox is not there any more, or is closed to us"
MISSED = "it had the message and has it no more"
_FULL = "the mailbox is full"
_BUSY = "the relay is busy, or its disk nearly full"
_AWAY = "the relay is not reached"


class Client(Protocol):
    """Asks relays."""

    async def call(self, at: At, command: Command, *, role: Role, seed: bytes | None, queue: bytes) -> Answer:
        """Return the answer, a refusal included; `MailboxUnreachable` says in words why there is none."""


@dataclass(frozen=True, slots=True)
class Queue:
    """Where a replica is and what opens it: relay, the name people know it by, keys."""

    at: At
    name: str
    keys: ReplicaKeys
    seed: bytes = field(repr=False)


class ReplicaRunner:
    """Lays down what waits for one queue. `path_stands` tells whether the device may be reached directly meanwhile."""

    def __init__(
        self,
        book: DepositBook,
        replica: Replica,
        queue: Queue,
        client: Client,
        *,
        room: Share,
        path_stands: Callable[[], bool],
        looked: Callable[[], None],
    ) -> None:
        self.idle_until: float | None = None
        """While it only waits: until when; infinite when nothing is left. None while it works."""
        self._book = book
        self._replica = replica
        self._queue = queue
        self._client = client
        self._room = room
        self._path_stands = path_stands
        self._looked = looked
        self._woken = Alarm()
        self._more = True
        self._after = 0
        self._stored: list[tuple[int, bytes]] = []
        self._stored_more = trio.Event()

    def look(self) -> None:
        """Look again: a pause has ended."""
        self.idle_until = None
        self._woken.ring()

    def wake(self) -> None:
        """Look again: something was queued."""
        self._more = True
        self.look()

    def hurry(self) -> None:
        """No path to the device stands any more: what waits is due now, and what was left out is looked for again."""
        self._replica.hurry(now=trio.current_time())
        self._after = 0
        self.wake()

    async def run(self) -> None:
        """Work until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write_down)
            while True:
                await self._load()
                now = trio.current_time()
                match self._replica.next(now=now):
                    case replication.Put(wanted):
                        self._replica.putting(wanted)
                        nursery.start_soon(self._lay_down, wanted)
                    case replication.Check():
                        self._replica.checking()
                        nursery.start_soon(self._check)
                    case replication.Wait(until):
                        await self._tell_trouble(now)
                        await self._wait(until)

    async def _wait(self, until: float | None) -> None:
        if not self._replica.busy:
            self.idle_until = float("inf") if until is None else until
            self._looked()
        await self._woken.wait(float("inf") if until is None else until)
        self.idle_until = None

    async def _load(self) -> None:
        """Take over what is missing there, a page at a time, while there is room."""
        if not self._more or len(self._replica) > limits.DEPOSIT_PAGE // 2:
            return
        self._more = False
        found = await self._book.missing(after=self._after, limit=limits.DEPOSIT_PAGE)
        direct = self._path_stands()
        now = trio.current_time()
        for row_id, age in found:  # while a path stands the device is given some time to acknowledge it there
            wait = max(0.0, min(limits.DEPOSIT_AFTER_SECONDS - age, limits.DEPOSIT_AFTER_SECONDS)) if direct else 0.0
            self._replica.queue([row_id], due=now + wait)
        if len(found) == limits.DEPOSIT_PAGE:
            self._after, self._more = found[-1][0], True

    # --- laying down ----------------------------------------------------------------------------------------------

    async def _lay_down(self, wanted: Sequence[int]) -> None:
        rows = await self._book.packets(wanted)
        for row_id in set(wanted) - {row.delivery for row, _ in rows}:
            self._replica.done(row_id)  # delivered meanwhile, or its time is over
        async with trio.open_nursery() as nursery:
            for row, ttl in rows:
                nursery.start_soon(self._deposit, row, ttl)
        self._woken.ring()

    async def _deposit(self, row: Waiting, ttl: int) -> None:
        keys = self._queue.keys
        try:
            async with self._room.one():
                blob = keys.seal(row.packet)
                answer = await self._call(Put(keys.send_id, keys.mid_of(row.packet_hash), ttl, blob))
        except CoveyError as exc:
            self._unreachable([row.delivery], str(exc))
            return
        if isinstance(answer, Stored):
            self._stored.append((row.delivery, row.packet_hash))
            self._stored_more.set()
        else:
            await self._refused([row.delivery], answer)

    async def _write_down(self) -> None:
        """Commit what was stored, all that came meanwhile in one go."""
        while True:
            await self._stored_more.wait()
            self._stored_more = trio.Event()
            batch, self._stored = self._stored, []
            await self._book.stored(batch)
            now = trio.current_time()
            for row_id, _ in batch:
                self._replica.stored(row_id, now=now)
            self._woken.ring()

    # --- asking ---------------------------------------------------------------------------------------------------

    async def _check(self) -> None:
        """Ask for everything that should lie there; what does not is laid down again."""
        try:
            await self._ask_for_all()
        finally:
            self._replica.check_failed()
            self._woken.ring()

    async def _ask_for_all(self) -> None:
        keys, after = self._queue.keys, 0
        while page := await self._book.lying(after=after):
            mids = {keys.mid_of(packet_hash): row_id for row_id, packet_hash in page}
            try:
                answer = await self._call(Have(keys.send_id, tuple(mids)))
            except CoveyError as exc:
                self._unreachable((), str(exc))
                return
            if not isinstance(answer, Held):
                await self._refused((), answer)
                return
            gone = missed(mids.values(), [mids[mid] for mid in answer.mids if mid in mids])
            if gone:
                await self._book.lost(gone, reason=f"{self._queue.name}: {MISSED}")
                self._replica.queue(gone, due=trio.current_time())
            after = page[-1][0]
        self._replica.checked(now=trio.current_time(), jitter=_jitter(), answered=after > 0)
        await self._book.checked()

    # --- what comes of it -----------------------------------------------------------------------------------------

    async def _call(self, command: Command) -> Answer:
        queue = self._queue
        return await self._client.call(queue.at, command, role=Role.SEND, seed=queue.seed, queue=queue.keys.send_id)

    def _unreachable(self, deliveries: Sequence[int], words: str) -> None:
        reason = f"{self._queue.name}: {words}"
        self._replica.unreachable(deliveries, reason, now=trio.current_time(), jitter=_jitter())
        self._woken.ring()

    async def _refused(self, deliveries: Sequence[int], answer: Answer) -> None:
        reason = answer.reason if isinstance(answer, Refused) else None
        if reason is Reason.UNREACHABLE:
            self._unreachable(deliveries, _AWAY)
            return
        now = trio.current_time()
        if isinstance(answer, Refused) and reason is Reason.BUSY:
            words, seconds = f"{self._queue.name}: {_BUSY}", float(answer.retry_after_seconds)
            self._replica.put_off(deliveries, words, seconds=seconds, now=now, jitter=_jitter())
            self._woken.ring()
            return
        words = f"{self._queue.name}: {_FULL if reason is Reason.QUOTA else GONE}"
        first = self._replica.refused(deliveries, words, now=now, jitter=_jitter())
        if first and reason is Reason.AUTH:
            await self._book.lost_all(reason=words)
            self._after, self._more = 0, True
        self._woken.ring()

    async def _tell_trouble(self, now: float) -> None:
        replica = self._replica
        if replica.reason is None:
            await self._book.trouble(None, pause=0, seconds=None)
        elif len(replica) and replica.not_before > now:
            pause = replica.relay.failures + replica.relay.refusals + replica.own.failures
            await self._book.trouble(replica.reason, pause=pause, seconds=replica.not_before - now)


def _jitter() -> float:
    return random.random()  # noqa: S311 - spreads load, no secret
