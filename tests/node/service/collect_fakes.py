"""Mailboxes in memory: relays that keep what they are given, unless told otherwise, beside a clock that jumps."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import trio

from covey_core.identity import Identity
from covey_core.peers import PeerId, peer_id_from_bytes
from covey_core.wire import mailbox as m
from covey_node.crypto.replica import ReplicaKeys
from covey_node.net.mailbox import At, MailboxUnreachable, Role, Subscribed
from covey_node.protocol.contents import Mailboxes
from covey_node.protocol.frames import Outcome
from covey_node.service.collect_making import Parts
from covey_node.service.collect_use import ContactUse
from covey_node.service.collecting import Collecting
from covey_node.service.effects import Effects
from covey_node.store import devices, queues
from covey_node.store.devices import DeviceRow
from covey_node.store.queues import Purpose, QueueRow, QueueState, SetRow
from covey_node.store.tx import Tx
from tests.node.service import lane_world

T = TypeVar("T")
NAMES = ("ann", "bea", "cat", "dan")
PACKET = 4096


@dataclass
class FakeQueue:
    """One queue at one relay."""

    recv_key: bytes
    recv_id: bytes = field(default_factory=lambda: os.urandom(24))
    send_id: bytes = field(default_factory=lambda: os.urandom(24))
    messages: list[m.StoredMessage] = field(default_factory=list)
    seq: int = 0
    more: trio.Event = field(default_factory=trio.Event)


class FakeRelays:
    """Relays by name; `down` do not answer, `answers` are given once in place of what is so."""

    def __init__(self) -> None:
        self.peers = {name: Identity.generate().peer_id for name in NAMES}
        self.names = {peer: name for name, peer in self.peers.items()}
        self.known: list[str] = list(NAMES[:3])
        self.down: set[str] = set()
        self.answers: dict[tuple[str, type], list[m.Answer]] = {}
        self.queues: dict[str, dict[bytes, FakeQueue]] = {name: {} for name in NAMES}
        self.calls: list[tuple[float, str, m.Command]] = []
        self.broken = trio.Event()
        self.breaks = dict.fromkeys(NAMES, 0)

    def relays(self) -> tuple[At, ...]:
        return tuple(At(self.peers[name], (f"/dns4/{name}/tcp/1",), name) for name in self.known)

    def fail(self, *names: str) -> None:
        """Have relays go: their connections end."""
        self.down |= set(names)
        for name in names:
            self.breaks[name] += 1
        self.broken.set()
        self.broken = trio.Event()

    def asked(self, name: str, kind: type) -> list[m.Command]:
        """What a relay was asked of that kind."""
        return [command for _, who, command in self.calls if who == name and isinstance(command, kind)]

    def times(self, name: str, kind: type) -> list[float]:
        """When."""
        return [at for at, who, command in self.calls if who == name and isinstance(command, kind)]

    def put(self, row: QueueRow, keys: ReplicaKeys, packet: bytes) -> None:
        """Lay a packet into a queue of ours."""
        queue = self.queues[self.names[_peer(row)]][row.recv_id or b""]
        queue.seq += 1
        queue.messages.append(m.StoredMessage(queue.seq, keys.mid(packet), keys.seal(packet)))
        queue.more.set()

    async def call(self, at: At, command: m.Command, *, role: Role, seed: bytes | None, queue: bytes) -> m.Answer:
        assert role is Role.RECEIVE
        assert seed is not None
        name = self.names[at.relay]
        self.calls.append((trio.current_time(), name, command))
        await trio.lowlevel.checkpoint()
        if name in self.down:
            raise MailboxUnreachable("no connection")
        if prepared := self.answers.get((name, type(command))):
            return prepared.pop(0)
        return self._answer(name, command)

    def _answer(self, name: str, command: m.Command) -> m.Answer:
        found = self.queues[name]
        if isinstance(command, m.New):
            made = next((one for one in found.values() if one.recv_key == command.recv_key), None)
            made = made or FakeQueue(command.recv_key)
            found[made.recv_id] = made
            return m.Ids(made.recv_id, made.send_id, 1024, 8 << 20, 1_814_400)
        assert isinstance(command, m.Get | m.Ack | m.Del)
        if command.recv_id not in found:
            return m.Refused(m.Reason.AUTH)
        if isinstance(command, m.Get):
            return m.Messages(tuple(found[command.recv_id].messages[: command.max_messages]))
        if isinstance(command, m.Del):
            del found[command.recv_id]
        else:
            queue = found[command.recv_id]
            queue.messages = [one for one in queue.messages if one.mid not in command.mids]
        return m.Done()

    async def subscribe(
        self,
        at: At,
        queues: Sequence[Subscribed],
        deliver: Callable[[bytes, Sequence[m.StoredMessage]], Awaitable[None]],
        *,
        refused: Callable[[bytes, m.Refused], Awaitable[None]],
        standing: Callable[[], None],
    ) -> None:
        name = self.names[at.relay]
        self.calls += [(trio.current_time(), name, m.Sub(one.recv_id, one.after)) for one in queues]
        await trio.lowlevel.checkpoint()
        if name in self.down:
            raise MailboxUnreachable("no connection")
        breaks = self.breaks[name]
        known = [one.recv_id for one in queues if one.recv_id in self.queues[name]]
        for one in queues:
            if one.recv_id not in known:
                await refused(one.recv_id, m.Refused(m.Reason.AUTH))
        if not known:
            raise MailboxUnreachable("nothing is left to listen to")
        standing()
        async with trio.open_nursery() as nursery:
            for recv_id in known:
                nursery.start_soon(self._push, self.queues[name][recv_id], deliver)
            while self.breaks[name] == breaks:
                await self.broken.wait()
            nursery.cancel_scope.cancel()
        raise MailboxUnreachable("the connection ended")

    async def _push(
        self, queue: FakeQueue, deliver: Callable[[bytes, Sequence[m.StoredMessage]], Awaitable[None]]
    ) -> None:
        after = 0
        while True:
            queue.more = trio.Event()
            fresh = [one for one in queue.messages if one.seq > after]
            if fresh:
                after = fresh[-1].seq
                await deliver(queue.recv_id, fresh)
            await queue.more.wait()


class FakeIncoming:
    """Takes packets; `refusals` are what it says first."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.refusals: list[Outcome] = []

    async def receive_from(self, _contact_id: int, packets: Sequence[bytes]) -> list[Outcome]:
        await trio.lowlevel.checkpoint()
        if self.refusals:
            return [self.refusals.pop(0)] * len(packets)
        outcomes = [Outcome.DUPLICATE if packet in self.taken else Outcome.ACCEPTED for packet in packets]
        self.taken += [packet for packet in dict.fromkeys(packets) if packet not in self.taken]
        return outcomes


class ToldUse(ContactUse):
    """Tells nobody, and remembers when it should have."""

    def __init__(self, world: lane_world.World, incoming: FakeIncoming) -> None:
        super().__init__(world.own, incoming)  # type: ignore[arg-type]
        self.told: list[tuple[float, Mailboxes]] = []
        self.known = 0

    def tell(self, _tx: Tx, _effects: Effects, _row: SetRow, mailboxes: Mailboxes) -> None:
        if not self.told or self.told[-1][1] != mailboxes:
            self.told.append((trio.current_time(), mailboxes))

    def confirmed(self, _tx: Tx, _row: SetRow) -> int:
        return self.known


class World:
    """Collecting over such relays, for one contact."""

    def __init__(self, path: Path) -> None:
        self.lanes = lane_world.World(path)
        self.relays = FakeRelays()
        self.incoming = FakeIncoming()
        self.use = ToldUse(self.lanes, self.incoming)
        self.contact = self.lanes.contact()
        self.skipped_seconds = 0.0
        own = replace(self.lanes.own, now=lambda: 1.7e9 + trio.current_time() + self.skipped_seconds)
        parts = Parts(self.lanes.ledger, own, self.relays, {Purpose.CONTACT: self.use})  # type: ignore[arg-type]
        self.collecting = Collecting(parts, path_stands=lambda _peer: False)

    def read(self, function: Callable[[Tx], T]) -> T:
        """Read the database."""
        return self.lanes.database.connection.read(function)

    def days_later(self, days: float) -> None:
        """Have our clock show a later time, as after a long sleep."""
        self.skipped_seconds += days * 86_400

    def device(self) -> bytes:
        """Give the contact a device."""
        key = os.urandom(32)
        row = DeviceRow(self.contact, key, os.urandom(32), 1.0)
        self.lanes.database.connection.run(lambda tx: devices.put(tx, row))
        return key

    def queues(self, *states: QueueState) -> dict[str, QueueRow]:
        """Our queues in these states, by relay."""
        row = self.read(lambda tx: queues.set_for(tx, Purpose.CONTACT, self.contact))
        rows = self.read(lambda tx: queues.of_set(tx, row.id, states or (QueueState.STANDING,))) if row else ()
        return {self.relays.names[_peer(one)]: one for one in rows}

    def keys(self, name: str) -> ReplicaKeys:
        """The keys of the queue that stands at a relay."""
        row = self.queues(QueueState.STANDING, QueueState.LEAVING)[name]
        found = self.read(lambda tx: queues.get_set(tx, row.set_id))
        assert found is not None
        return ReplicaKeys.derive(found.secret or b"", row.relay, row.send_id or b"")

    def put(self, name: str, packet: bytes) -> None:
        """Lay a packet down at a relay."""
        self.relays.put(self.queues(QueueState.STANDING, QueueState.LEAVING)[name], self.keys(name), packet)

    def lying(self, name: str) -> int:
        """How much lies at a relay."""
        return sum(len(queue.messages) for queue in self.relays.queues[name].values())


def _peer(row: QueueRow) -> PeerId:
    return peer_id_from_bytes(row.relay)
