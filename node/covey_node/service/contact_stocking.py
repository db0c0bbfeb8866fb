"""One contact queue brought in step: whom it lets in, the bundle that lies there, its share of one-time pairs.

Owns: the order of these three, and that a pair is offered once. Spec: docs/spec/first-contact.md, "Token", "Stock".
Never touches: when that is done (contact_queues.py), what comes in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count, islice
from typing import Final

from covey_core.limits import MAILBOX_TOKENS
from covey_core.peers import peer_id_from_bytes
from covey_core.wire.mailbox import (
    Admit,
    AdmitTokens,
    AdmitWork,
    Answer,
    Command,
    Done,
    Reason,
    Refused,
    Rot,
    Stock,
)
from covey_node import crypto, limits
from covey_node.crypto.limits import SIGNED_AHEAD_SECONDS
from covey_node.crypto.primitives import ed25519_public
from covey_node.net.mailbox import At, MailboxClient, MailboxUnreachable, Role
from covey_node.service.effects import Effects
from covey_node.service.ledger import Ledger
from covey_node.service.own import Own
from covey_node.store import account, contact_stock, queues
from covey_node.store.contact_stock import StockRow
from covey_node.store.queues import Purpose, QueueRow, QueueState
from covey_node.store.tx import Tx

LABEL_NOBODY: Final = b"covey mailbox 1 nobody\x00"
CONTACT_PURPOSES = (Purpose.INVITES, Purpose.OPEN)


@dataclass(frozen=True, slots=True)
class ContactQueue:
    """One of our contact queues that stands, with its set's purpose and secret."""

    purpose: Purpose
    secret: bytes = field(repr=False)
    row: QueueRow

    @property
    def at(self) -> At:
        """Its relay."""
        return At(peer_id_from_bytes(self.row.relay), self.row.addrs)

    @property
    def recv_id(self) -> bytes:
        """Its id for us."""
        assert self.row.recv_id is not None  # noqa: S101 - it stands
        return self.row.recv_id

    @property
    def stock_keys(self) -> crypto.StockKeys:
        """What its stock is sealed under."""
        assert self.row.send_id is not None  # noqa: S101 - it stands
        return crypto.StockKeys.derive(self.secret, self.row.relay, self.row.send_id)


def standing(tx: Tx) -> tuple[ContactQueue, ...]:
    """Return our contact queues that stand in their sets."""
    found: list[ContactQueue] = []
    for purpose in CONTACT_PURPOSES:
        row = queues.set_for(tx, purpose)
        if row is not None and row.secret is not None:
            stand = queues.of_set(tx, row.id, (QueueState.STANDING,))
            found.extend(ContactQueue(purpose, row.secret, queue) for queue in stand)
    return tuple(found)


def admission(tx: Tx, purpose: Purpose, relay: bytes, secret: bytes, *, now: float) -> Admit:
    """Return whom a contact queue at a relay is to let in; `secret`: its set's."""
    if purpose is Purpose.OPEN:
        return AdmitWork(limits.CONTACT_WORK_BITS)
    hashes = contact_stock.admitted(tx, relay, now=now, limit=MAILBOX_TOKENS)
    nobodys = (hashlib.sha256(LABEL_NOBODY + secret + relay + bytes((place,))).digest() for place in count())
    return AdmitTokens(tuple(sorted((*hashes, *islice(nobodys, MAILBOX_TOKENS - len(hashes))))))


def in_step(tx: Tx, queue: ContactQueue, *, now: float) -> bool:
    """Whether a queue lets in whom it should."""
    wanted = admission(tx, queue.purpose, queue.row.relay, queue.secret, now=now)
    return contact_stock.load(tx, queue.row.id).admitted == _digest(wanted)


class Stocking:
    """Brings queues in step, a call at a time."""

    def __init__(self, ledger: Ledger, own: Own, client: MailboxClient) -> None:
        self._ledger = ledger
        self._own = own
        self._client = client

    async def bring_in_step(self, queue: ContactQueue) -> None:
        """Do what is due at one queue. `MailboxUnreachable`, or `NotDone` when the relay refuses."""
        wanted = await self._ledger.read(partial(self._wanted_admission, queue))
        if wanted is not None:
            _expect(await self._call(queue, Rot(queue.recv_id, wanted)))
            admitted = _digest(wanted)
            await self._save(queue, lambda row: replace(row, admitted=admitted))
        made = await self._ledger.change(partial(self._due_bundle, queue))
        if made is not None:
            stocked, stock = made
            _expect(await self._call(queue, Stock(queue.recv_id, (), stocked)))
            await self._save(
                queue,
                lambda row: replace(
                    row, generation=stock.generation, device_list=stock.device_list, bundle_at=stock.bundle_at
                ),
            )
        pairs = await self._ledger.change(partial(self._due_pairs, queue))
        if pairs:
            await self._offer(queue, pairs)

    def due_at(self, tx: Tx, queue: ContactQueue) -> float:
        """Return when something is due at a queue that is in step, Unix seconds."""
        row = contact_stock.load(tx, queue.row.id)
        now = self._own.now()
        bundle_at, offered_at = row.bundle_at or now, row.offered_at or now
        return min(bundle_at + limits.CONTACT_BUNDLE_SECONDS, offered_at + limits.CONTACT_STOCK_SECONDS)

    def _wanted_admission(self, queue: ContactQueue, tx: Tx) -> Admit | None:
        now = self._own.now()
        if in_step(tx, queue, now=now):
            return None
        return admission(tx, queue.purpose, queue.row.relay, queue.secret, now=now)

    def _due_bundle(self, queue: ContactQueue, tx: Tx, _effects: Effects) -> tuple[bytes, StockRow] | None:
        """Return a bundle to be stocked, its generation kept for as long as it may lie there; None when none is due."""
        now, row = self._own.now(), contact_stock.load(tx, queue.row.id)
        prekeys = crypto.Prekeys.decode(account.prekeys(tx)).rotate(self._own.rng, now=now)
        list_hash = hashlib.sha256(self._own.local.devices.encode()).digest()
        current = prekeys.generations[-1].id
        fresh = row.bundle_at is not None and 0 <= now - row.bundle_at < limits.CONTACT_BUNDLE_SECONDS
        if fresh and row.generation == current and row.device_list == list_hash:
            return None
        prekeys = prekeys.signed_ahead(until=now + limits.CONTACT_BUNDLE_SECONDS + SIGNED_AHEAD_SECONDS)
        account.set_prekeys(tx, prekeys.encode())
        stocked = queue.stock_keys.seal_bundle(prekeys.bundle(self._own.local, now=now), self._own.rng)
        return stocked, replace(row, generation=current, device_list=list_hash, bundle_at=now)

    def _due_pairs(self, queue: ContactQueue, tx: Tx, _effects: Effects) -> list[tuple[int, bytes]]:
        """Return pairs (id, stocked) to be offered, which count as offered from now on; none when none are due."""
        now, row, queue_id = self._own.now(), contact_stock.load(tx, queue.row.id), queue.row.id
        unused, last = contact_stock.unused(tx, queue_id)
        wanted = limits.CONTACT_STOCK_PAIRS
        if row.offered_at is None or not 0 <= now - row.offered_at < limits.CONTACT_STOCK_SECONDS:
            wanted = limits.MAILBOX_KEYS_MAX  # no answer was clear for a day: more, but not without end
            if last is not None and not 0 <= now - last < limits.CONTACT_STOCK_SECONDS:
                wanted = unused + 1
        if unused >= wanted:
            return []
        kept = contact_stock.not_offered(tx, queue_id, limit=limits.CONTACT_STOCK_PAIRS)
        if len(kept) < limits.CONTACT_STOCK_PAIRS:
            direct = {pair.id for pair in crypto.Prekeys.decode(account.prekeys(tx)).one_time}
            made = crypto.new_one_time_pairs(
                self._own.rng,
                now=now,
                count=limits.CONTACT_STOCK_PAIRS - len(kept),
                used=contact_stock.pair_ids(tx) | direct,
            )
            new = [(pair.id, pair.encode()) for pair in made]
            contact_stock.add_pairs(tx, queue_id, new, now=now, most=limits.CONTACT_SHARE_PAIRS)
            kept = (*kept, *new)
        contact_stock.offered(tx, [number for number, _ in kept], at=now)
        keys = queue.stock_keys
        return [
            (number, keys.seal_pair(crypto.OneTimePair.decode(pair).public(self._own.local), self._own.rng))
            for number, pair in kept
        ]

    async def _offer(self, queue: ContactQueue, pairs: list[tuple[int, bytes]]) -> None:
        """Have the relay take pairs; a clear refusal keeps them, a lost answer does not: it may have taken them."""
        answer = await self._call(queue, Stock(queue.recv_id, tuple(stocked for _, stocked in pairs)))
        if isinstance(answer, Refused):
            ids = [number for number, _ in pairs]
            await self._ledger.change(lambda tx, _: contact_stock.offered(tx, ids, at=None))
            if answer.reason is not Reason.QUOTA:  # as many as may be lie there
                raise NotDone(answer)
        now = self._own.now()
        await self._save(queue, lambda row: replace(row, offered_at=now))

    async def _save(self, queue: ContactQueue, change: Callable[[StockRow], StockRow]) -> None:
        await self._ledger.change(lambda tx, _: contact_stock.save(tx, change(contact_stock.load(tx, queue.row.id))))

    async def _call(self, queue: ContactQueue, command: Command) -> Answer:
        return await ask_as_owner(self._client, queue, command)


async def ask_as_owner(client: MailboxClient, queue: ContactQueue, command: Command) -> Answer:
    """Have a command on one of our contact queues answered; `MailboxUnreachable`."""
    seed = queue.row.recv_seed
    return await client.call(queue.at, command, role=Role.RECEIVE, seed=seed, queue=ed25519_public(seed))


class NotDone(MailboxUnreachable):
    """The relay refused what an owner asks of its queue."""

    def __init__(self, answer: Refused) -> None:
        super().__init__(f"the relay refused: {answer.reason.name}")
        self.answer = answer


def _expect(answer: Answer) -> None:
    if isinstance(answer, Refused):
        raise NotDone(answer)
    if not isinstance(answer, Done):
        raise MailboxUnreachable("the relay answered something else")


def _digest(admit: Admit) -> bytes:
    match admit:
        case AdmitTokens(hashes):
            return hashlib.sha256(b"tokens" + b"".join(sorted(hashes))).digest()
        case AdmitWork(bits):
            return hashlib.sha256(b"work" + bytes((bits,))).digest()
    raise ValueError(admit)
