"""Strangers' mail that was left lying at a relay because of a bound of ours: fetched again when there is room.

Owns: when that is, and how much at a time. Spec: docs/spec/first-contact.md, "The owner". Never touches: what the mail
holds, contacts' mail, which goes on meanwhile.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import trio

from covey_core.logs import get_logger
from covey_core.wire.mailbox import Ack, Get, Messages
from covey_node import limits
from covey_node.crypto.errors import Undecryptable
from covey_node.crypto.replica import ReplicaKeys
from covey_node.net.alarm import Alarm
from covey_node.net.mailbox import MailboxClient, MailboxUnreachable
from covey_node.protocol.frames import Outcome
from covey_node.protocol.status import ContactState
from covey_node.service.contact_stocking import ContactQueue, ask_as_owner, standing
from covey_node.service.ledger import Ledger
from covey_node.store import contacts, queues
from covey_node.store.queues import SetRow
from covey_node.store.tx import Tx

log = get_logger("node.contact_queues")

Take = Callable[[SetRow, Sequence[bytes]], Awaitable[Sequence[Outcome | None]]]


class Leftovers:
    """Fetches in pages, a minute after something was left lying, for as long as `take` takes all of a page."""

    def __init__(self, ledger: Ledger, client: MailboxClient, take: Take) -> None:
        self._ledger = ledger
        self._client = client
        self._take = take
        self._sets: set[int] = set()
        self._noted = Alarm()

    @property
    def waits(self) -> bool:
        """Whether something was left lying."""
        return bool(self._sets)

    def note(self, set_id: int) -> None:
        """Something of a set was left lying."""
        self._sets.add(set_id)
        self._noted.ring()

    async def run(self) -> None:
        """Fetch what was left, until cancelled."""
        while True:
            while not self._sets:
                await self._noted.wait()
            await trio.sleep(limits.CONTACT_LEFT_SECONDS)
            if await self._ledger.read(_list_is_full):
                continue
            wanted, self._sets = self._sets, set()
            for queue in await self._ledger.read(standing):
                if queue.row.set_id in wanted:
                    await self._fetch(queue)

    async def _fetch(self, queue: ContactQueue) -> None:
        """Take what lies in a queue; what cannot be taken now is noted again."""
        of = await self._ledger.read(lambda tx: queues.get_set(tx, queue.row.set_id))
        if of is None or queue.row.send_id is None:
            return
        keys, after, more = ReplicaKeys.derive(queue.secret, queue.row.relay, queue.row.send_id), 0, True
        while more:
            try:
                found = await ask_as_owner(self._client, queue, Get(queue.recv_id, after, limits.CONTACT_PAGE_MESSAGES))
                if not isinstance(found, Messages) or not found.messages:
                    return
                left = await self._take_page(queue, of, keys, found)
            except MailboxUnreachable as exc:
                log.debug("node.contact_queue.not_fetched", problem=str(exc))
                self.note(queue.row.set_id)
                return
            after, more = found.messages[-1].seq, found.more and not left

    async def _take_page(self, queue: ContactQueue, of: SetRow, keys: ReplicaKeys, page: Messages) -> bool:
        """Take a page and acknowledge what was taken; whether something is left."""
        opened, done = [], []
        for message in page.messages:
            try:
                opened.append((message.mid, keys.open(message.mid, message.blob)))
            except Undecryptable:
                done.append(message.mid)
        outcomes = await self._take(of, [packet for _, packet in opened])
        kept = {None, Outcome.RETRY_LATER, Outcome.TOO_MANY_REQUESTS}
        done += [mid for (mid, _), outcome in zip(opened, outcomes, strict=True) if outcome not in kept]
        if done:
            await ask_as_owner(self._client, queue, Ack(queue.recv_id, tuple(done)))
        if len(done) < len(page.messages):
            self.note(queue.row.set_id)
        return len(done) < len(page.messages)


def _list_is_full(tx: Tx) -> bool:
    return len(contacts.all_in(tx, {ContactState.INCOMING})) >= limits.INCOMING_REQUESTS_MAX
