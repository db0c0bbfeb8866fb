"""Our contact queues: kept in step with our invites, stocked with keys, and what strangers leave there opened.

Owns: when a queue is brought in step, what of strangers' mail is opened now and what later. Spec:
docs/spec/first-contact.md, "The owner". Never touches: at which relays the queues are and who listens to them
(collecting.py), one queue's stock (contact_stocking.py), what a request does (applying.py).
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import trio

from covey_core.errors import CoveyError
from covey_core.logs import get_logger
from covey_core.wire.mailbox import Admit
from covey_node import limits
from covey_node.net.alarm import Alarm
from covey_node.net.mailbox import MailboxClient
from covey_node.protocol.backoff import Backoff
from covey_node.protocol.contact_set import ContactSet
from covey_node.protocol.frames import Outcome
from covey_node.protocol.mailboxes import Mailboxes, Replica
from covey_node.service.contact_left import Leftovers
from covey_node.service.contact_stocking import ContactQueue, Stocking, admission, in_step, standing
from covey_node.service.effects import Effects
from covey_node.service.incoming import Incoming
from covey_node.service.ledger import Ledger
from covey_node.service.own import Own
from covey_node.service.sealing import packet_hash
from covey_node.store import contact_stock, invites, queues
from covey_node.store.queues import Purpose, QueueState, SetRow
from covey_node.store.tx import Tx

log = get_logger("node.contact_queues")

_PAUSE = Backoff(limits.CONTACT_RETRY_SECONDS_MIN, limits.CONTACT_RETRY_SECONDS_MAX)


@dataclass(slots=True)
class _Trouble:
    """A queue's relay did not do as it was asked: how often, and when it is asked again (trio's clock)."""

    failures: int
    not_before: float


class ContactQueues:
    """Keeps contact queues in step, and opens what comes to them."""

    def __init__(self, ledger: Ledger, own: Own, client: MailboxClient, incoming: Incoming) -> None:
        self._ledger = ledger
        self._own = own
        self._client = client
        self._incoming = incoming
        self._stocking = Stocking(ledger, own, client)
        self._leftovers = Leftovers(ledger, client, self.take)
        self._due = Alarm()
        self._trouble: dict[int, _Trouble] = {}
        self._done: OrderedDict[bytes, None] = OrderedDict()  # hashes of packets that need not be opened again
        self._progress = trio.Event()  # set, and made anew, whenever queues were brought in step
        ledger.follow(self._followed)

    async def run(self) -> None:
        """Open both sets, then keep their queues in step and fetch what was left lying, until cancelled."""
        await self._ledger.change(self._open_sets)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._leftovers.run)
            await self._keep_in_step()

    async def _keep_in_step(self) -> None:
        while True:
            found, until = await self._ledger.read(self._look)
            self._trouble = {
                queue.row.id: self._trouble[queue.row.id] for queue in found if queue.row.id in self._trouble
            }
            async with trio.open_nursery() as nursery:
                for queue in found:
                    trouble = self._trouble.get(queue.row.id)
                    if trouble is None or trouble.not_before <= trio.current_time():
                        nursery.start_soon(self._bring_in_step, queue)
            self._progress.set()
            self._progress = trio.Event()
            again = min((one.not_before for one in self._trouble.values()), default=float("inf"))
            await self._due.wait(min(again, trio.current_time() + max(0.0, until - self._own.now())))
            await trio.sleep(limits.CONTACT_SETTLE_SECONDS)

    # --- what the machinery of queues asks (collect_use.Use) ---------------------------------------------------------

    def admit(self, tx: Tx, row: SetRow, relay: bytes) -> Admit | None:
        """Return whom a new queue of a contact set lets in."""
        return None if row.secret is None else admission(tx, row.purpose, relay, row.secret, now=self._own.now())

    async def take(self, row: SetRow, packets: Sequence[bytes]) -> Sequence[Outcome | None]:
        """Open what lay in a contact queue; None for what is left lying because of a bound of ours (contact_left.py).

        Each replica brings every packet: what was opened lately is not opened again.
        """
        fresh = [packet for packet in packets if packet_hash(packet) not in self._done]
        outcomes = dict(zip(fresh, await self._incoming.receive_unnamed(fresh) if fresh else (), strict=True))
        for packet, outcome in outcomes.items():
            if outcome is Outcome.TOO_MANY_REQUESTS:
                self._leftovers.note(row.id)
            elif outcome is not Outcome.RETRY_LATER:
                self._done[packet_hash(packet)] = None
        while len(self._done) > limits.CONTACT_DONE_REMEMBERED:
            self._done.popitem(last=False)
        found = (outcomes.get(packet, Outcome.DUPLICATE) for packet in packets)
        return [None if outcome is Outcome.TOO_MANY_REQUESTS else outcome for outcome in found]

    def tell(self, _tx: Tx, effects: Effects, _row: SetRow, _mailboxes: Mailboxes) -> None:
        """Queues came or went: new invites will name them, nobody else is told."""
        effects.invites = True

    def confirmed(self, tx: Tx, row: SetRow) -> int:
        """Return 0 while a link may be about that names a queue which left: it is read as long as there is room."""
        return row.number if row.purpose is Purpose.INVITES and not invites.any_open(tx, now=self._own.now()) else 0

    # --- invites ------------------------------------------------------------------------------------------------------

    async def invite_set(self, *, one_use: bool) -> ContactSet | None:
        """Return the queues that a new invite is to name, after waiting a while for those that are being made."""
        purpose = Purpose.INVITES if one_use else Purpose.OPEN
        began = trio.current_time()
        while self._client.relays():
            stands, making = await self._ledger.read(lambda tx: _waited_for(tx, purpose))
            patience = limits.INVITE_MORE_SECONDS if stands else limits.INVITE_WAIT_SECONDS
            if not making or trio.current_time() - began >= patience:
                break
            with trio.move_on_after(limits.REQUEST_LOOK_SECONDS):
                await self._progress.wait()
        return await self._ledger.read(partial(self._set, purpose))

    async def admitted(self) -> None:
        """Wait, for a while, until the queues let in whom they should."""
        with trio.move_on_after(limits.INVITE_WAIT_SECONDS):
            while await self._ledger.read(self._behind):
                await self._progress.wait()

    async def is_stocked(self) -> bool:
        """Whether each queue that stands has its admission, a bundle and its pairs."""

        def look(tx: Tx) -> bool:
            rows = [contact_stock.load(tx, queue.row.id) for queue in standing(tx)]
            return bool(rows) and all(row.admitted and row.bundle_at and row.offered_at for row in rows)

        return await self._ledger.read(look)

    @property
    def has_left_something(self) -> bool:
        """Whether mail of strangers lies at relays because of a bound of ours."""
        return self._leftovers.waits

    async def progress(self) -> None:
        """Wait until queues were brought in step once more, as far as their relays answered."""
        await self._progress.wait()

    def _set(self, purpose: Purpose, tx: Tx) -> ContactSet | None:
        found = [queue for queue in standing(tx) if queue.purpose is purpose]
        replicas = tuple(
            Replica(queue.row.relay, queue.row.addrs, queue.row.send_id) for queue in found if queue.row.send_id
        )
        return ContactSet(self._own.device_key, found[0].secret, replicas) if replicas else None

    def _open_sets(self, tx: Tx, effects: Effects) -> None:
        effects.queues = True
        for purpose in (Purpose.INVITES, Purpose.OPEN):
            queues.open_set(tx, purpose, None, secret=self._own.rng(32), now=self._own.now())

    def _followed(self, effects: Effects) -> None:
        if effects.invites:
            self._due.ring()

    def _look(self, tx: Tx) -> tuple[tuple[ContactQueue, ...], float]:
        """Return our queues, and when something is due at one at the latest (Unix seconds)."""
        now, found = self._own.now(), standing(tx)
        expiry = contact_stock.next_expiry(tx, now=now)
        times = [self._stocking.due_at(tx, queue) for queue in found]
        times += [now + limits.CONTACT_STOCK_SECONDS] + ([] if expiry is None else [expiry])
        return found, min(times)

    def _behind(self, tx: Tx) -> bool:
        now = self._own.now()
        return any(not in_step(tx, queue, now=now) for queue in standing(tx) if queue.row.id not in self._trouble)

    async def _bring_in_step(self, queue: ContactQueue) -> None:
        known = self._trouble.pop(queue.row.id, None)
        try:
            await self._stocking.bring_in_step(queue)
        except CoveyError as exc:
            failures = 1 if known is None else known.failures + 1
            pause = _PAUSE.wait_seconds(failures, random=random.random)
            self._trouble[queue.row.id] = _Trouble(failures, trio.current_time() + pause)
            log.info("node.contact_queue.left_behind", problem=type(exc).__name__, failures=failures)


def _waited_for(tx: Tx, purpose: Purpose) -> tuple[bool, bool]:
    """Return whether a queue of the set stands, and whether one is being made or none was begun."""
    row = queues.set_for(tx, purpose)
    rows = () if row is None else queues.of_set(tx, row.id, (QueueState.STANDING, QueueState.MAKING))
    stands = any(one.state is QueueState.STANDING for one in rows)
    return stands, not rows or any(one.state is QueueState.MAKING for one in rows)
