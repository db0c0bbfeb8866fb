"""Two sides that are never there together, without hosts of their own: databases, requests, contact queues, relays."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio

from covey_core.identity import Identity
from covey_core.network import Network
from covey_core.peers import peer_id_bytes
from covey_core.wire import mailbox as m
from covey_node.crypto.primitives import ed25519_public
from covey_node.crypto.replica import ReplicaKeys
from covey_node.net.mailbox import MailboxClient, Role
from covey_node.protocol.frames import Outcome
from covey_node.protocol.status import ContactState
from covey_node.service.acquaintance import Acquaintance
from covey_node.service.contact_queues import ContactQueues
from covey_node.service.contact_stocking import ContactQueue, standing
from covey_node.service.events import Events
from covey_node.service.incoming import Incoming
from covey_node.service.ledger import Ledger
from covey_node.service.newcomer import Newcomer
from covey_node.service.own import Own, load_own
from covey_node.service.setup import create_account
from covey_node.store import contacts, queues
from covey_node.store.contacts import ContactRow
from covey_node.store.home import SecretFile, exists, open_home
from covey_node.store.queues import Purpose
from covey_node.store.tx import Tx

PATIENCE_SECONDS = 60


@dataclass
class Side:
    """One side's database and the parts that first contact is made of."""

    name: str
    own: Own
    ledger: Ledger
    client: MailboxClient
    incoming: Incoming
    contact_queues: ContactQueues
    acquaintance: Acquaintance

    async def make_queues(self) -> None:
        """Have a queue of either contact set at each relay that answers."""
        relays = self.client.relays()

        def plan(tx: Tx) -> list[tuple[queues.QueueRow, m.Admit | None]]:
            made = []
            for purpose in (Purpose.INVITES, Purpose.OPEN):
                row = queues.open_set(tx, purpose, None, secret=self.own.rng(32), now=self.own.now())
                known = {one.relay for one in queues.of_set(tx, row.id)}
                for at in relays:
                    raw = peer_id_bytes(at.relay)
                    if raw not in known:
                        queue = queues.plan(
                            tx, row.id, relay=raw, addrs=at.addrs[:4], recv_seed=self.own.rng(32), now=self.own.now()
                        )
                        made.append((queue, self.contact_queues.admit(tx, row, raw)))
            return made

        for queue, admit in await self.ledger.change(lambda tx, _: plan(tx)):
            assert admit is not None
            owner = Identity(queue.recv_seed)
            at = next(one for one in relays if peer_id_bytes(one.relay) == queue.relay)
            ids = await self.client.call(
                at, m.New(owner.public_key, admit), role=Role.RECEIVE, seed=owner.seed, queue=owner.public_key
            )
            assert isinstance(ids, m.Ids), ids
            row_id, found = queue.id, ids

            def note(tx: Tx, row_id: int = row_id, found: m.Ids = found) -> None:
                queues.stood(tx, row_id, found, now=self.own.now())

            await self.ledger.change(lambda tx, effects, note=note: (note(tx), setattr(effects, "invites", True)))

    async def stocked(self) -> None:
        """Wait until each queue has its admission, a bundle and its pairs."""

        with trio.fail_after(PATIENCE_SECONDS):
            await self.contact_queues.admitted()
            while not await self.contact_queues.is_stocked():
                await self.contact_queues.progress()

    async def queues(self) -> tuple[ContactQueue, ...]:
        """The contact queues."""
        return await self.ledger.read(standing)

    async def lying(self, queue: ContactQueue) -> tuple[m.StoredMessage, ...]:
        """What lies in one of them."""
        answer = await self.own_call(queue, m.Get(queue.recv_id, 0, 1024))
        assert isinstance(answer, m.Messages), answer
        return answer.messages

    async def collect(self) -> list[Outcome | None]:
        """Open and acknowledge what lies in all contact queues."""
        outcomes: list[Outcome | None] = []
        for queue in await self.queues():
            lying = await self.lying(queue)
            assert queue.row.send_id is not None
            keys = ReplicaKeys.derive(queue.secret, queue.row.relay, queue.row.send_id)
            packets = [keys.open(one.mid, one.blob) for one in lying]
            row = await self.ledger.read(lambda tx, queue=queue: queues.get_set(tx, queue.row.set_id))
            assert row is not None
            took = await self.contact_queues.take(row, packets)
            outcomes.extend(took)
            done = [
                one.mid
                for one, what in zip(lying, took, strict=True)
                if what is not None and what is not Outcome.RETRY_LATER
            ]
            if done:
                assert await self.own_call(queue, m.Ack(queue.recv_id, tuple(done))) == m.Done()
        return outcomes

    async def own_call(self, queue: ContactQueue, command: m.Command) -> m.Answer:
        """Ask something of a contact queue as its owner."""
        return await self.client.call(
            queue.at, command, role=Role.RECEIVE, seed=queue.row.recv_seed, queue=ed25519_public(queue.row.recv_seed)
        )

    async def people(self) -> dict[str, ContactRow]:
        """All contacts by name."""
        return {row.alias: row for row in await self.ledger.read(contacts.all_in)}

    async def until(self, alias: str, done: Callable[[ContactRow], bool]) -> ContactRow:
        """Wait until a contact is so."""
        changed = trio.Event()
        self.ledger.follow(lambda _effects: changed.set())
        with trio.fail_after(PATIENCE_SECONDS):
            while True:
                changed = trio.Event()
                row = (await self.people()).get(alias)
                if row is not None and done(row):
                    return row
                await changed.wait()

    async def until_stored(self, alias: str, copies: int, of: int) -> ContactRow:
        """Wait until the request for a contact lies at so many of its relays."""
        words = f"lies at {copies} of {of} of their relays"
        return await self.until(alias, lambda row: words in (row.reason or ""))


@asynccontextmanager
async def away_side(
    home: Path,
    network: Network,
    *,
    running: Sequence[str] = ("contact_queues", "newcomer"),
    on_commit: Callable[[object], None] | None = None,
    now: Callable[[], float] | None = None,
) -> AsyncIterator[Side]:
    """One side, on the home of that name; `running`: which of its parts run."""
    unlock = SecretFile(home.parent / f"{home.name}.secret")
    if not exists(home):
        create_account(home, name=home.name, network=None, unlock=unlock)
    async with open_home(home, unlock, on_commit=on_commit) as database, trio.open_nursery() as nursery:
        own = await database.read(load_own if now is None else partial(load_own, now=now))
        assert own is not None
        ledger = Ledger(database, Events(first=1))
        client = MailboxClient(network)
        incoming = Incoming(ledger, own, lambda _peer: "none")
        contact_queues = ContactQueues(ledger, own, client, incoming)
        newcomer = Newcomer(ledger, own, client)
        acquaintance = Acquaintance(ledger, own, network, contact_queues=contact_queues)
        nursery.start_soon(client.run)
        for name, task in (("contact_queues", contact_queues.run), ("newcomer", newcomer.run)):
            if name in running:
                nursery.start_soon(task)
        yield Side(home.name, own, ledger, client, incoming, contact_queues, acquaintance)
        nursery.cancel_scope.cancel()


def is_accepted(row: ContactRow) -> bool:
    """Whether both agreed."""
    return row.state is ContactState.ACCEPTED
