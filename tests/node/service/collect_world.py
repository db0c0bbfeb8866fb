"""Two people and the relays where mail for one of them lies: real relays, real nodes, real databases."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import trio

from covey_core.network import Network, RelayEntry
from covey_core.peers import peer_id_from_bytes
from covey_core.wire import mailbox as m
from covey_node.crypto.replica import ReplicaKeys, send_seed
from covey_node.net.mailbox import At, MailboxClient, Role
from covey_node.service.node import Node
from covey_node.store import peer_mailboxes, queue_told, queues
from covey_node.store.database import Database
from covey_node.store.home import SecretFile, open_home
from covey_node.store.peer_mailboxes import PeerSet
from covey_node.store.queues import Purpose, QueueRow, QueueState
from covey_node.store.tx import Tx
from tests.support.mailbox_relays import MailboxRelay, Restarting, Seen
from tests.support.people import PATIENCE_SECONDS, acquaint, empty_network, running_node

T = TypeVar("T")
TTL = 86_400


class Watched(list[Seen]):
    """What a relay was asked, for whom waits until it was."""

    def __init__(self) -> None:
        super().__init__()
        self._more = trio.Event()

    def append(self, one: Seen) -> None:
        super().append(one)
        self._more.set()

    async def until(self, done: Callable[[], bool]) -> None:
        """Wait until that holds."""
        while not done():
            await self._more.wait()
            self._more = trio.Event()


def _acked(one: Seen) -> tuple[bytes, ...]:
    done = isinstance(one.command, m.Ack) and isinstance(one.answer, m.Done)
    return one.command.mids if done and isinstance(one.command, m.Ack) else ()


@dataclass
class World:
    """Relays by name, and the network that names them."""

    folder: Path
    nursery: trio.Nursery
    network: Network = field(default_factory=empty_network)
    relays: dict[str, Restarting] = field(default_factory=dict)
    running: dict[str, MailboxRelay] = field(default_factory=dict)

    async def start(self, *names: str) -> None:
        """Start relays of these operators, the first time or again."""
        for name in names:
            if name not in self.relays:
                self.relays[name] = Restarting(
                    self.nursery, self.folder / f"{name}.db", {"network": self.network, "operator": name}
                )
            self.running[name] = await self.relays[name].start()
            self.running[name].seen = Watched()

    async def stop(self, *names: str) -> None:
        """End relays; their stores stay."""
        for name in names:
            await self.relays[name].stop()
            del self.running[name]

    async def acked(self, name: str, count: int) -> None:
        """Wait until a relay was told to delete so many different messages."""
        seen = self.running[name].seen
        assert isinstance(seen, Watched)
        with trio.fail_after(PATIENCE_SECONDS):
            await seen.until(lambda: len({mid for one in seen for mid in _acked(one)}) >= count)

    async def asked(self, name: str, command: type, *, to: type = object, queue: bytes = b"") -> None:
        """Wait until a relay was asked something, about this queue of ours if one is named, and answered it so."""
        seen = self.running[name].seen
        assert isinstance(seen, Watched)
        with trio.fail_after(PATIENCE_SECONDS):
            await seen.until(lambda: command in self.commands(name, queue=queue, to=to))

    def commands(self, name: str, *, queue: bytes = b"", to: type = object) -> list[type]:
        """What a relay was asked and answered so, in order, about this queue of ours if one is named."""
        return [
            type(one.command)
            for one in self.running[name].seen
            if isinstance(one.answer, to) and (not queue or getattr(one.command, "recv_id", b"") == queue)
        ]

    def wipe(self, name: str) -> None:
        """Have a relay that is not running lose its disk."""
        for path in self.folder.glob(f"{name}.db*"):
            path.unlink()

    def known(self, *names: str) -> Network:
        """The network as a node knows it that knows these relays, default all that run."""
        entries = tuple(RelayEntry(name, self.running[name].host.addrs) for name in names or tuple(self.running))
        return replace(self.network, relays=entries)

    @asynccontextmanager
    async def node(self, name: str, network: Network | None = None, **options: Any) -> AsyncIterator[Node]:
        """A person's node with mailboxes."""
        options = {"mailboxes": True, **options}
        async with running_node(self.folder / name, network or self.known(), **options) as node:
            yield node

    @asynccontextmanager
    async def database(self, name: str) -> AsyncIterator[Database]:
        """The database of a person whose node does not run."""
        async with open_home(self.folder / name, SecretFile(self.folder / f"{name}.secret")) as database:
            yield database

    def relay_of(self, raw: bytes) -> str:
        """The name of a relay."""
        peer = peer_id_from_bytes(raw)
        return next(name for name, relay in self.running.items() if relay.host.peer_id == peer)


@asynccontextmanager
async def world(folder: Path, *names: str) -> AsyncIterator[World]:
    """Relays that end with the block."""
    async with trio.open_nursery() as nursery:
        made = World(folder, nursery)
        await made.start(*names)
        yield made
        nursery.cancel_scope.cancel()


async def read(node: Node, function: Callable[[Tx], T]) -> T:
    """Read a node's database."""
    return await node._ledger.read(function)


async def until(node: Node, function: Callable[[Tx], bool]) -> None:
    """Wait until something holds in a node's database, looking again after every change."""
    changed = trio.Event()

    def followed(_effects: object) -> None:
        changed.set()

    node._ledger.follow(followed)
    with trio.fail_after(PATIENCE_SECONDS):
        while not await read(node, function):
            await changed.wait()
            changed = trio.Event()


def standing(tx: Tx) -> tuple[QueueRow, ...]:
    """The queues that stand of the first contact."""
    row = queues.set_for(tx, Purpose.CONTACT, 1)
    return () if row is None else queues.of_set(tx, row.id, (QueueState.STANDING,))


def all_confirmed(count: int) -> Callable[[Tx], bool]:
    """Whether the contact has confirmed a set of so many queues."""

    def check(tx: Tx) -> bool:
        row = queues.set_for(tx, Purpose.CONTACT, 1)
        if row is None or row.stale or len(standing(tx)) != count:
            return False
        keys = [bytes(key) for (key,) in tx.all("SELECT device_key FROM queue_told WHERE set_id = ?", (row.id,))]
        return queue_told.confirmed(tx, row.id, keys) == row.number

    return check


async def meet(world: World, alice: Node, bob: Node, *, replicas: int = 3) -> None:
    """Make them contacts who know each other's mailboxes."""
    await acquaint(alice, bob)
    await until(alice, all_confirmed(replicas))
    await until(bob, all_confirmed(replicas))


def peer_set(tx: Tx) -> PeerSet:
    """The mailboxes of the first contact, as we know them."""
    [(contact_id, key)] = tx.all("SELECT contact_id, device_key FROM peer_mailboxes")
    found = peer_mailboxes.load(tx, contact_id, bytes(key))
    assert found is not None
    return found


def packets(tx: Tx) -> list[bytes]:
    """What waits to be delivered, in order."""
    return [bytes(row[0]) for row in tx.all("SELECT packet FROM deliveries WHERE packet IS NOT NULL ORDER BY id")]


@dataclass
class Hand:
    """Lays packets into somebody's mailboxes as a sender does."""

    client: MailboxClient
    to: PeerSet

    async def put(self, packet: bytes, *, at: int) -> m.Answer:
        """Lay a packet down at one of the replicas."""
        replica = self.to.replicas[at]
        keys = ReplicaKeys.derive(self.to.secret, replica.relay, replica.send_id)
        return await self.raw(at, keys.mid(packet), keys.seal(packet))

    async def raw(self, at: int, mid: bytes, blob: bytes) -> m.Answer:
        """Lay any bytes down there."""
        replica = self.to.replicas[at]
        command = m.Put(replica.send_id, mid, TTL, blob)
        seed = send_seed(self.to.secret, replica.relay)
        where = At(peer_id_from_bytes(replica.relay), replica.addrs)
        return await self.client.call(where, command, role=Role.SEND, seed=seed, queue=replica.send_id)

    async def put_all(self, *packets: bytes) -> None:
        """Lay packets down at every replica."""
        for packet in packets:
            for at in range(len(self.to.replicas)):
                answer = await self.put(packet, at=at)
                assert isinstance(answer, m.Stored), answer


@asynccontextmanager
async def hand(network: Network, to: PeerSet) -> AsyncIterator[Hand]:
    """Somebody who writes to these mailboxes, for the length of the block."""
    client = MailboxClient(network, forward=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.run)
        yield Hand(client, to)
        nursery.cancel_scope.cancel()
