"""Our queues at one relay: listened to, and what they bring taken.

Owns: the order commit, then acknowledgement; what waits to be acknowledged; pauses after a relay did not answer. Spec:
docs/spec/mailbox.md. Never touches: which queues there ought to be (collect_plan.py), what packets mean
(collect_use.py), how one is made and deleted (collect_making.py).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import trio

from covey_core.errors import FileDamaged, ProtocolViolation
from covey_core.host.contained import Contained
from covey_core.limits import MAILBOX_ACK_MIDS
from covey_core.logs import get_logger
from covey_core.peers import PeerId, peer_id_bytes, short
from covey_core.wire.mailbox import (
    Answer,
    Command,
    Get,
    Refused,
    StoredMessage,
)
from covey_node import limits
from covey_node.crypto.errors import Undecryptable
from covey_node.crypto.primitives import ed25519_public
from covey_node.crypto.replica import ReplicaKeys
from covey_node.metrics import RatchetReject
from covey_node.net.lasting import note
from covey_node.net.mailbox import MailboxUnreachable, Role, Subscribed
from covey_node.protocol.backoff import Backoff
from covey_node.protocol.frames import Outcome
from covey_node.service.collect_acks import Acknowledging
from covey_node.service.collect_making import Around, Making, Parts
from covey_node.store import queues
from covey_node.store.errors import StoreClosed, StoreError, StoreFull
from covey_node.store.queues import QueueRow, QueueState, SetRow
from covey_node.store.tx import Tx

log = get_logger("node.collecting")

_PAUSE = Backoff(limits.MAILBOX_RELAY_RETRY_SECONDS_MIN, limits.MAILBOX_RELAY_RETRY_SECONDS_MAX)
_PROBE = Backoff(limits.MAILBOX_PROBE_SECONDS, limits.MAILBOX_PROBE_SECONDS)
_READ = (QueueState.STANDING, QueueState.LEAVING)
_AGAIN = frozenset({Outcome.RETRY_LATER, Outcome.TOO_MANY_REQUESTS})
"""Outcomes of packets that are not acknowledged: they are to come again."""


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
        self._making = Making(parts, around, relay, ask=self._ask, unhear=self._unhear)
        self._failures = 0
        self.listening = False

    def wake(self, *, hurry: bool = False) -> None:
        """There is something to do here; with `hurry` a pause after failures ends too: the network has changed."""
        if hurry:
            self._failures = 0
        if hurry or not self._failures:
            self._woken.set()

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
        nursery.start_soon(self._keep_asking)
        while True:
            self._woken = trio.Event()
            rows = await self._parts.ledger.read(lambda tx: queues.at_relay(tx, self._raw))
            if not rows:
                return
            again = await self._making.change(rows)
            fresh = await self._parts.ledger.read(self._unheard)
            if fresh:
                for heard in fresh:
                    self._hear(heard)
                nursery.start_soon(self._listen, fresh)
            with trio.move_on_after(again):
                await self._woken.wait()

    async def _keep_asking(self) -> None:
        """Ask something small now and then: a connection that died silently is noticed by nobody who only listens."""
        while True:
            await trio.sleep(_PROBE.wait_seconds(1, random=random.random))
            heard = [one.queue for one in self._heard.values()]
            for row in heard if self._parts.isolated else heard[:1]:
                if row.recv_id is not None:
                    await self._ask(row, Get(row.recv_id, 0, 1))

    # --- asking -------------------------------------------------------------------------------------------------------

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

    def _unhear(self, row: QueueRow) -> None:
        if row.recv_id is not None:
            self._heard.pop(row.recv_id, None)
            self._sets.get(row.set_id, {}).pop(row.recv_id, None)

    async def _listen(self, fresh: Sequence[Heard]) -> None:
        """Listen to queues until the connection ends; those that the relay does not know are forgotten."""
        wanted = {heard.queue.recv_id: heard.queue for heard in fresh if heard.queue.recv_id is not None}
        refused: set[bytes] = set()

        async def gone(recv_id: bytes, _refusal: Refused) -> None:
            refused.add(recv_id)
            if recv_id in wanted:
                await self._making.forget(wanted[recv_id], lost=True)

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
        while opened:
            outcomes = await self._take(heard.of, [packet for _, packet in opened])
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

    async def _take(self, of: SetRow, packets: Sequence[bytes]) -> Sequence[Outcome | None]:
        """Have packets taken; one at which what takes it fails is left lying (None), and those behind it are taken."""
        with Contained() as outcome:
            return await self._parts.uses[of.purpose].take(of, packets)
        error = outcome.error
        assert error is not None  # noqa: S101 - else the block has returned
        if _is_of_the_store(error):
            raise error
        if len(packets) > 1:
            return [one for packet in packets for one in await self._take(of, [packet])]
        note("mailbox packet", error)
        return [None]


def _is_of_the_store(error: Exception) -> bool:
    """Whether an error says how the database fares, and nothing about the packet: all is read again after a pause."""
    return isinstance(error, StoreFull | StoreClosed | FileDamaged) or type(error) is StoreError


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
