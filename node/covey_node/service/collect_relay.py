"""Our queues at one relay: made, listened to, emptied, deleted.

Owns: the order commit, then acknowledgement; what waits to be acknowledged; pauses after a relay did not answer. Spec:
docs/spec/mailbox.md. Never touches: which queues there ought to be (collect_plan.py), what packets mean
(collect_use.py).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

import trio

from covey_core.errors import FileDamaged, ProtocolViolation
from covey_core.limits import MAILBOX_ACK_MIDS
from covey_core.logs import get_logger
from covey_core.peers import PeerId, peer_id_bytes, short
from covey_core.wire.mailbox import (
    Admit,
    Answer,
    Command,
    Del,
    Get,
    Ids,
    Messages,
    New,
    Reason,
    Refused,
    StoredMessage,
)
from covey_node import limits
from covey_node.crypto.errors import Undecryptable
from covey_node.crypto.primitives import ed25519_public
from covey_node.crypto.replica import ReplicaKeys
from covey_node.metrics import RatchetReject
from covey_node.net.mailbox import At, MailboxClient, MailboxUnreachable, Role, Subscribed
from covey_node.protocol.backoff import Backoff
from covey_node.protocol.frames import Outcome
from covey_node.service.collect_acks import Acknowledging
from covey_node.service.collect_plan import gone_queues
from covey_node.service.collect_use import Use
from covey_node.service.effects import Effects
from covey_node.service.ledger import Ledger
from covey_node.service.own import Own
from covey_node.store import queues
from covey_node.store.errors import Conflict, StoreError
from covey_node.store.queues import Purpose, QueueRow, QueueState, SetRow
from covey_node.store.tx import Tx

log = get_logger("node.collecting")

_PAUSE = Backoff(limits.MAILBOX_RELAY_RETRY_SECONDS_MIN, limits.MAILBOX_RELAY_RETRY_SECONDS_MAX)
_READ = (QueueState.STANDING, QueueState.LEAVING)
_AGAIN = frozenset({Outcome.RETRY_LATER, Outcome.TOO_MANY_REQUESTS})
"""Outcomes of packets that are not acknowledged: they are to come again."""


class Around(Protocol):
    """What one relay's queues have to do with all the others."""

    def at(self, relay: PeerId) -> At:
        """Return where a relay is, as far as is known now."""

    def answered(self, relay: PeerId) -> None:
        """A relay has answered."""

    async def silent(self, relay: PeerId, reason: str) -> None:
        """A relay has not answered."""

    async def lost(self, relay: PeerId) -> None:
        """A relay has said that a queue of ours is gone."""

    def changed(self, set_ids: Iterable[int]) -> None:
        """The queues of these sets are others now."""

    def taken(self, relay: PeerId, set_id: int, packets: Sequence[bytes]) -> None:
        """Packets of a set that lay at a relay are durable here: the other relays need not keep them."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What collecting needs."""

    ledger: Ledger
    own: Own
    client: MailboxClient
    uses: Mapping[Purpose, Use]
    rejected: Callable[[RatchetReject], None] = lambda _reason: None
    received_bytes: Callable[[int], None] = lambda _count: None


@dataclass(frozen=True, slots=True)
class Heard:
    """A queue that is listened to."""

    queue: QueueRow
    of: SetRow
    keys: ReplicaKeys = field(repr=False)


class RelayQueues:
    """Runs as long as there is a queue of ours at the relay."""

    def __init__(self, parts: Parts, around: Around, relay: PeerId) -> None:
        self._parts = parts
        self._around = around
        self._relay = relay
        self._raw = peer_id_bytes(relay)
        self._woken = trio.Event()
        self._heard: dict[bytes, Heard] = {}  # by recv_id
        self._sets: dict[int, dict[bytes, Heard]] = {}  # the same, by set
        self._waiting: dict[bytes, dict[bytes, int]] = {}  # bytes of what came and is not deleted there, by recv_id
        self._acks = Acknowledging(self._call, self._deleted)
        self._failures = 0
        self.listening = False

    def wake(self, *, hurry: bool = False) -> None:
        """There is something to do here; with `hurry` a pause after failures ends too: the network has changed."""
        if hurry:
            self._failures = 0
        if hurry or not self._failures:
            self._woken.set()

    async def answers(self) -> bool:
        """Ask the relay something small; whether it answered."""
        heard = next(iter(self._heard.values()), None)
        if heard is None or heard.queue.recv_id is None:
            return False
        try:
            await self._ask(heard.queue, Get(heard.queue.recv_id, 0, 1))
        except MailboxUnreachable:
            return False
        return True

    def acknowledge(self, set_id: int, packets: Sequence[bytes]) -> None:
        """Have packets deleted that are durable here and may lie in this relay's queues of their set."""
        for recv_id, heard in self._sets.get(set_id, {}).items():
            self._acks.add(recv_id, [heard.keys.mid(packet) for packet in packets], certain=False)

    def usage(self, recv_id: bytes) -> tuple[int, int] | None:
        """Return how many messages, and bytes, came from a queue and lie there still; None while it is not read."""
        if not self.listening or recv_id not in self._heard:
            return None
        waiting = self._waiting.get(recv_id, {})
        return len(waiting), sum(waiting.values())

    def _deleted(self, recv_id: bytes, mids: Sequence[bytes]) -> None:
        waiting = self._waiting.get(recv_id, {})
        for mid in mids:
            waiting.pop(mid, None)

    async def run(self) -> None:
        """Attend to the queues until none is left."""
        while True:
            try:
                async with trio.open_nursery() as nursery:
                    await self._attend(nursery)
                    nursery.cancel_scope.cancel()
            except* MailboxUnreachable as group:
                reason = str(_first(group))
                self._failures += 1
            except* (StoreError, FileDamaged) as group:
                log.warning("node.collecting.interrupted", problem=type(_first(group)).__name__)
                reason = ""
            else:
                return
            self.listening = False
            self._heard.clear()
            self._sets.clear()
            self._waiting.clear()
            self._acks.forget()
            await self._pause(reason)

    async def _pause(self, reason: str) -> None:
        if not reason:
            await trio.sleep(limits.STORE_RETRY_SECONDS)
            return
        self._woken = trio.Event()
        log.debug("node.mailbox.unreachable", relay=short(self._relay), reason=reason)
        await self._around.silent(self._relay, reason)
        with trio.move_on_after(_PAUSE.wait_seconds(self._failures, random=random.random)):
            await self._woken.wait()

    async def _attend(self, nursery: trio.Nursery) -> None:
        """Do what there is to do until no queue is left; raise what ends the connection."""
        nursery.start_soon(self._acks.run)
        while True:
            self._woken = trio.Event()
            rows = await self._parts.ledger.read(lambda tx: queues.at_relay(tx, self._raw))
            if not rows:
                return
            again = await self._change(rows)
            fresh = await self._parts.ledger.read(self._unheard)
            if fresh:
                for heard in fresh:
                    self._hear(heard)
                nursery.start_soon(self._listen, fresh)
            with trio.move_on_after(again):
                await self._woken.wait()

    # --- making and deleting ------------------------------------------------------------------------------------------

    async def _change(self, rows: Sequence[QueueRow]) -> float:
        """Make and delete what is to be made and deleted; return after how many seconds to look again."""
        left = tuple(row for row in rows if row.state is QueueState.LEAVING)
        done = set(await self._parts.ledger.read(lambda tx: gone_queues(tx, left, self._parts.uses)) if left else ())
        waits = [float(limits.MAILBOX_EMPTY_SECONDS if left else limits.MAILBOX_PLAN_SECONDS)]
        steps = {QueueState.MAKING: self._make, QueueState.ENDING: self._delete}
        at_once = trio.CapacityLimiter(limits.MAILBOX_CALLS_AT_ONCE)

        async def do(row: QueueRow) -> None:
            async with at_once:
                wait = await (self._empty(row) if row in done else steps[row.state](row))
            if wait is not None:
                waits.append(wait)

        async with trio.open_nursery() as nursery:
            for row in rows:
                if row.state in steps or row in done:
                    nursery.start_soon(do, row)
        return min(waits)

    async def _make(self, row: QueueRow) -> float | None:
        admit = await self._parts.ledger.read(lambda tx: self._admission(tx, row))
        if admit is None:
            return None
        answer = await self._ask(row, New(ed25519_public(row.recv_seed), admit))
        match answer:
            case Ids():
                await self._stood(row, answer)
            case Refused(Reason.BUSY, retry_after):
                return retry_after or limits.MAILBOX_BUSY_SECONDS
            case (
                _
            ):  # it knows our key with another admission, or answers nonsense: another key, and maybe another relay
                await self._forget(row, lost=True)
        return None

    def _admission(self, tx: Tx, row: QueueRow) -> Admit | None:
        of = queues.get_set(tx, row.set_id)
        use = None if of is None else self._parts.uses.get(of.purpose)
        return None if of is None or use is None else use.admit(tx, of, self._raw)

    async def _stood(self, row: QueueRow, ids: Ids) -> None:
        now = self._parts.own.now()
        try:
            wanted = await self._parts.ledger.change(lambda tx, _effects: queues.stood(tx, row.id, ids, now=now))
        except Conflict:
            await self._forget(row, lost=True)
            return
        if not wanted:
            await self._ask(row, Del(ids.recv_id))
        self._around.changed((row.set_id,))

    async def _delete(self, row: QueueRow) -> float | None:
        if row.recv_id is not None:
            answer = await self._ask(row, Del(row.recv_id))
            if isinstance(answer, Refused) and answer.reason is Reason.BUSY:
                return answer.retry_after_seconds or limits.MAILBOX_BUSY_SECONDS
        await self._forget(row)  # AUTH: it is gone already
        return None

    async def _empty(self, row: QueueRow) -> float | None:
        """Delete a queue that left its set and that nobody writes to any more, once nothing lies in it."""
        if row.recv_id is None:
            return None
        answer = await self._ask(row, Get(row.recv_id, 0, 1))
        if answer == Messages(()):
            await self._parts.ledger.change(lambda tx, _effects: queues.end(tx, row.id))
            return await self._delete(replace(row, state=QueueState.ENDING))
        if isinstance(answer, Refused) and answer.reason is Reason.AUTH:
            await self._forget(row)
            return None
        return limits.MAILBOX_EMPTY_SECONDS

    async def _forget(self, row: QueueRow, *, lost: bool = False) -> None:
        """Forget a queue that is not there any more; `lost`: the relay is to blame, unless we were about to end it."""

        def remove(tx: Tx, _effects: Effects) -> bool:
            known = queues.get(tx, row.id)
            queues.remove(tx, row.id)
            return known is not None and known.state is not QueueState.ENDING

        lost = await self._parts.ledger.change(remove) and lost
        if row.recv_id is not None:
            self._heard.pop(row.recv_id, None)
            self._sets.get(row.set_id, {}).pop(row.recv_id, None)
        if lost:
            await self._around.lost(self._relay)
        self._around.changed((row.set_id,))

    async def _ask(self, row: QueueRow, command: Command) -> Answer:
        return await self._call(row.recv_seed, command)

    async def _call(self, seed: bytes, command: Command) -> Answer:
        try:
            answer = await self._parts.client.call(
                self._around.at(self._relay), command, role=Role.RECEIVE, seed=seed, queue=ed25519_public(seed)
            )
        except ProtocolViolation as exc:
            raise MailboxUnreachable("it does not keep to the protocol") from exc
        self._around.answered(self._relay)
        return answer

    # --- listening ----------------------------------------------------------------------------------------------------

    def _unheard(self, tx: Tx) -> tuple[Heard, ...]:
        found = []
        for row in queues.at_relay(tx, self._raw, _READ):
            of = queues.get_set(tx, row.set_id)
            if row.recv_id is None or row.send_id is None or row.recv_id in self._heard or of is None:
                continue
            if of.secret is not None and of.purpose in self._parts.uses:
                found.append(Heard(row, of, ReplicaKeys.derive(of.secret, self._raw, row.send_id)))
        return tuple(found)

    def _hear(self, heard: Heard) -> None:
        if heard.queue.recv_id is not None:
            self._heard[heard.queue.recv_id] = heard
            self._sets.setdefault(heard.queue.set_id, {})[heard.queue.recv_id] = heard
            self._acks.seeds[heard.queue.recv_id] = heard.queue.recv_seed

    async def _listen(self, fresh: Sequence[Heard]) -> None:
        """Listen to queues until the connection ends; those that the relay does not know are forgotten."""
        wanted = {heard.queue.recv_id: heard.queue for heard in fresh if heard.queue.recv_id is not None}
        refused: set[bytes] = set()

        async def gone(recv_id: bytes, _refusal: Refused) -> None:
            refused.add(recv_id)
            if recv_id in wanted:
                await self._forget(wanted[recv_id], lost=True)

        def standing() -> None:
            self._failures = 0
            self.listening = True
            self._around.answered(self._relay)
            self._woken.set()  # queues that left and are empty can go

        try:
            await self._parts.client.subscribe(
                self._around.at(self._relay),
                [Subscribed(recv_id, row.recv_seed) for recv_id, row in wanted.items()],
                partial(self._deliver),
                refused=gone,
                standing=standing,
            )
        except MailboxUnreachable:
            if refused >= wanted.keys() or not wanted.keys() & self._heard.keys():
                self._woken.set()
                return  # it answers, and none of these is left
            raise

    async def _deliver(self, recv_id: bytes, messages: Sequence[StoredMessage]) -> None:
        """Take messages of one queue; they are acknowledged when that is durable, or when they hold nothing."""
        heard = self._heard.get(recv_id)
        if heard is None:
            return
        waiting = self._waiting.setdefault(recv_id, {})
        if len(waiting) < MAILBOX_ACK_MIDS:  # as many as an honest relay keeps
            waiting.update((message.mid, len(message.blob)) for message in messages)
        opened: list[tuple[bytes, bytes]] = []
        for message in messages:
            try:
                opened.append((message.mid, heard.keys.open(message.mid, message.blob)))
            except Undecryptable:
                self._parts.rejected(RatchetReject.MALFORMED)
                await self._acks.wait_add(recv_id, [message.mid])
        self._parts.received_bytes(sum(len(message.blob) for message in messages))
        while opened:
            outcomes = await self._parts.uses[heard.of.purpose].take(heard.of, [packet for _, packet in opened])
            done = [
                item
                for item, outcome in zip(opened, outcomes, strict=True)
                if outcome is not None and outcome not in _AGAIN
            ]
            opened = [item for item, outcome in zip(opened, outcomes, strict=True) if outcome in _AGAIN]
            await self._acks.wait_add(recv_id, [mid for mid, _ in done])
            self._around.taken(self._relay, heard.queue.set_id, [packet for _, packet in done])
            if opened:  # the disk is full: the relay keeps what it has, and is read no further
                await trio.sleep(limits.STORE_RETRY_SECONDS)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
