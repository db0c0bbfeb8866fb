"""Mailboxes without relays: a client that answers from dicts, and a device that has three of them."""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from pathlib import Path
from typing import Any

import trio
import trio.lowlevel

from covey_core.host import ConnectionInfo, Disconnected
from covey_core.identity import Identity
from covey_core.peers import PeerId, peer_id_bytes, public_key_of
from covey_core.wire.mailbox import Answer, Command, Have, Held, Put, Reason, Refused, Stored
from covey_node.net.mailbox import At, MailboxUnreachable, Role
from covey_node.protocol.mailboxes import Mailboxes, Replica
from covey_node.service.depositing import Depositing
from covey_node.service.effects import Wake
from covey_node.service.port import MessageView
from covey_node.service.views import message_views
from covey_node.store import deposits, messages, peer_mailboxes
from covey_node.store.deposits import ReplicaCopy
from tests.node.service.lane_world import World

NAMES = ("home", "club", "school", "harbour")


class FakeMailboxes:
    """Relays that keep what they are given, unless told otherwise; `trouble` names what is wrong with one."""

    def __init__(self) -> None:
        self.relays = [Identity.generate().peer_id for _ in NAMES]
        self.names = dict(zip(self.relays, NAMES, strict=True))
        self.trouble: dict[str, str | Refused] = {}
        self.takes_nothing: dict[str, Refused] = {}  # PUT is refused so, HAVE is answered
        self.a_second: float | None = None
        self._left: dict[str, tuple[float, float]] = {}
        self.asked = trio.Event()
        self.held: dict[str, dict[bytes, Put]] = {name: {} for name in NAMES}
        self.calls: list[tuple[str, Command]] = []
        self.hold: trio.Event | None = None
        self.silent: set[str] = set()  # never answer
        self.under_way = self.most_under_way = 0

    async def call(self, at: At, command: Command, *, role: Role, seed: bytes | None, queue: bytes) -> Answer:
        assert role is Role.SEND
        assert seed is not None
        assert len(seed) == 32
        name = self.names[at.relay]
        self.calls.append((name, command))
        self.asked.set()
        self.under_way += 1
        self.most_under_way = max(self.under_way, self.most_under_way)
        try:
            await trio.lowlevel.checkpoint()
            if name in self.silent:
                await trio.sleep_forever()
            if self.hold is not None:
                await self.hold.wait()
        finally:
            self.under_way -= 1
        trouble = self.trouble.get(name)
        if isinstance(trouble, str):
            raise MailboxUnreachable(trouble)
        if trouble is not None:
            return trouble
        match command:
            case Put() if not self._has_room(name):
                return Refused(Reason.BUSY, 1)
            case Put() if name in self.takes_nothing:
                return self.takes_nothing[name]
            case Put():
                assert queue == command.send_id
                self.held[name][command.mid] = command
                return Stored(len(self.held[name]))
            case Have():
                return Held(tuple(mid for mid in command.mids if mid in self.held[name]))
            case _:
                raise AssertionError(command)

    def _has_room(self, name: str) -> bool:
        """Whether a relay that takes `a_second` has room now, as relays count: up to two seconds' worth at once."""
        if self.a_second is None:
            return True
        now = trio.current_time()
        left, at = self._left.get(name, (2.0 * self.a_second, now))
        left = min(2.0 * self.a_second, left + (now - at) * self.a_second)
        self._left[name] = (left - 1 if left >= 1 else left, now)
        return left >= 1

    def puts(self, name: str) -> list[Put]:
        """What was asked to be laid down at a relay."""
        return [command for who, command in self.calls if who == name and isinstance(command, Put)]

    async def until_puts(self, name: str, count: int) -> None:
        """Wait until a relay was asked so often to take something."""
        while len(self.puts(name)) < count:
            self.asked = trio.Event()
            await self.asked.wait()

    def told(self, number: int, names: Iterable[str] = NAMES[:3], *, generation: int = 0) -> Mailboxes:
        """Return a set of queues at these relays."""
        chosen = [self.relays[NAMES.index(name)] for name in names]
        return Mailboxes(
            number,
            bytes([generation]) * 32 if chosen else b"",
            tuple(Replica(peer_id_bytes(relay), (), (public_key_of(relay) * 2)[:24]) for relay in chosen),
        )


class DepositWorld:
    """A database with a contact whose device has mailboxes."""

    def __init__(self, path: Path) -> None:
        self.world = World(path)
        self.mailboxes = FakeMailboxes()
        self.connected: set[PeerId] = set()
        self.world.host.connections = self._connections  # type: ignore[method-assign, assignment]
        self.changed = trio.Event()
        self.world.ledger.follow(lambda _effects: self.changed.set())
        self.contact = self.world.contact()
        self.device = public_key_of(Identity.generate().peer_id)

    def another(self, alias: str = "carol") -> DepositWorld:
        """Return the same world as another contact's device sees it."""
        other = copy(self)
        other.contact = self.world.contact(alias)
        other.device = public_key_of(Identity.generate().peer_id)
        self.world.ledger.follow(lambda _effects: other.changed.set())
        return other

    def _connections(self, peer: PeerId | None = None) -> tuple[Any, ...]:
        return (_connection(peer),) if peer is not None and peer in self.connected else ()

    def depositing(self) -> Depositing:
        """A process's part, as it begins."""
        return Depositing(
            self.world.ledger,
            self.world.own,
            self.world.host,  # type: ignore[arg-type]
            self.mailboxes,
            name_of=lambda relay: self.mailboxes.names[relay],
        )

    async def tell(self, mailboxes: Mailboxes) -> None:
        """Take over a set as `applying` does."""

        def save(tx: Any, effects: Any) -> None:
            if peer_mailboxes.save(tx, self.contact, self.device, mailboxes):
                effects.lane(self.contact, self.device, Wake.MAILBOXES)

        await self.world.ledger.change(save)

    async def write(self) -> int:
        """Queue a message; returns its row id."""
        return await self.world.queue(self.contact, self.device)

    def view(self, row_id: int) -> MessageView:
        """The message as a person sees it."""
        connection = self.world.database.connection
        return connection.read(lambda tx: message_views(tx, [_found(messages.get(tx, row_id))])[0])

    def copies(self, row_id: int) -> str:
        """`2/3`, or the status where no copies are shown."""
        view = self.view(row_id)
        return f"{view.status} {view.copies.stored}/{view.copies.of}" if view.copies else str(view.status)

    def replicas(self, row_id: int) -> tuple[ReplicaCopy, ...]:
        """What is known of each mailbox."""
        found = self.world.database.connection.read(lambda tx: deposits.of_message(tx, row_id))
        return () if found is None else found[1]

    async def until(self, row_id: int, copies: str) -> None:
        """Wait until the message reads so; looked at after every change of the database."""
        with trio.fail_after(48 * 3600):
            while self.copies(row_id) != copies:
                self.changed = trio.Event()
                await self.changed.wait()

    def disconnect(self, peer: PeerId) -> None:
        """End the last connection to a device."""
        self.connected.discard(peer)
        self.world.host.events_in.send_nowait(Disconnected(_connection(peer), 0))


def _connection(peer: PeerId) -> ConnectionInfo:
    return ConnectionInfo(1, peer, "/ip4/10.0.0.2/tcp/1", inbound=False, relayed=False, admitted=True, transport="tcp")


def _found(row: Any) -> Any:
    assert row is not None
    return row
