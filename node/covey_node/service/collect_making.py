"""Our queues at one relay: made, emptied and deleted there.

Owns: what a relay's answer to NEW, GET and DEL means for a queue. Spec: docs/spec/mailbox.md, "Choice of relays".
Never touches: which queues there ought to be (collect_plan.py), listening (collect_relay.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import trio

from covey_core.peers import PeerId, peer_id_bytes
from covey_core.wire.mailbox import Admit, Answer, Command, Del, Get, Ids, Messages, New, Reason, Refused
from covey_node import limits
from covey_node.crypto.primitives import ed25519_public
from covey_node.metrics import RatchetReject
from covey_node.net.mailbox import At, MailboxClient
from covey_node.service.collect_plan import gone_queues
from covey_node.service.collect_use import Use
from covey_node.service.effects import Effects
from covey_node.service.ledger import Ledger
from covey_node.service.own import Own
from covey_node.store import queues
from covey_node.store.errors import Conflict
from covey_node.store.queues import Purpose, QueueRow, QueueState
from covey_node.store.tx import Tx


class Around(Protocol):
    """What one relay's queues have to do with all the others."""

    def at(self, relay: PeerId) -> At:
        """Return where a relay is, as far as is known now."""

    def answered(self, relay: PeerId) -> None:
        """A relay has answered."""

    async def silent(self, relay: PeerId, reason: str) -> None:
        """A relay has not answered."""

    async def lost(self, relay: PeerId, *, made_at: float) -> None:
        """A relay has said that a queue of ours, which was planned at `made_at`, is gone."""

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
    isolated: bool = False  # each queue has a connection of its own


class Making:
    """Brings the queues at one relay to what is written down.

    `ask` asks the relay as a queue's owner, and raises `MailboxUnreachable`. `unhear` is told of a queue that is gone.
    """

    def __init__(
        self,
        parts: Parts,
        around: Around,
        relay: PeerId,
        *,
        ask: Callable[[QueueRow, Command], Awaitable[Answer]],
        unhear: Callable[[QueueRow], None],
    ) -> None:
        self._parts = parts
        self._around = around
        self._relay = relay
        self._raw = peer_id_bytes(relay)
        self._ask = ask
        self._unhear = unhear

    async def change(self, rows: Sequence[QueueRow]) -> float:
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
            case _:  # it knows our key with another admission, or answers nonsense: another key, maybe another relay
                await self.forget(row, lost=True)
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
            await self.forget(row, lost=True)
            return
        if not wanted:
            await self._ask(row, Del(ids.recv_id))
        self._around.changed((row.set_id,))

    async def _delete(self, row: QueueRow) -> float | None:
        if row.recv_id is not None:
            answer = await self._ask(row, Del(row.recv_id))
            if isinstance(answer, Refused) and answer.reason is Reason.BUSY:
                return answer.retry_after_seconds or limits.MAILBOX_BUSY_SECONDS
        await self.forget(row)  # AUTH: it is gone already
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
            await self.forget(row)
            return None
        return limits.MAILBOX_EMPTY_SECONDS

    async def forget(self, row: QueueRow, *, lost: bool = False) -> None:
        """Forget a queue that is not there any more; `lost`: the relay is to blame, unless we were about to end it."""

        def remove(tx: Tx, _effects: Effects) -> bool:
            known = queues.get(tx, row.id)
            queues.remove(tx, row.id)
            return known is not None and known.state is not QueueState.ENDING

        lost = await self._parts.ledger.change(remove) and lost
        self._unhear(row)
        if lost:
            await self._around.lost(self._relay, made_at=row.made_at)
        self._around.changed((row.set_id,))
