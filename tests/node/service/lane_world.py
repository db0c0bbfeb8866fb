"""One lane and its surroundings without sockets and threads: a real database, a host whose streams the test holds."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import trio

from covey_core.errors import StreamLost
from covey_core.host import Connected, Disconnected
from covey_core.identity import Identity
from covey_core.peers import PeerId
from covey_core.wire.framing import FrameDecoder
from covey_node import crypto, limits
from covey_node.protocol.frames import Ack, Outcome, Packet, decode_chat_frame, encode_ack
from covey_node.protocol.status import ContactState, Status
from covey_node.service.events import Events
from covey_node.service.ledger import Ledger
from covey_node.service.own import Own
from covey_node.store import contacts, deliveries, messages
from covey_node.store.connection import Connection
from covey_node.store.contacts import ContactRow
from covey_node.store.errors import StoreError
from covey_node.store.messages import MessageRow
from covey_node.store.migrations import migrate
from covey_node.store.tx import Tx
from tests.support.people import empty_network

T = TypeVar("T")


class FakeStream:
    """A chat stream: the test reads what was written and answers."""

    def __init__(self, peer: PeerId, number: int | None) -> None:
        self.peer = peer
        self.number = number
        self.packets_in, self.packets = trio.open_memory_channel[Packet](1000)
        self._answers, self._coming = trio.open_memory_channel[bytes](1000)
        self._decoder = FrameDecoder(limit=limits.CHAT_FRAME_BYTES)
        self.relayed = False
        self.closed = trio.Event()

    async def write(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self._decoder.feed(data)
        while (payload := self._decoder.next_frame()) is not None:
            packet = decode_chat_frame(payload)
            assert isinstance(packet, Packet)
            self.packets_in.send_nowait(packet)

    async def read_frame(self, *, limit: int) -> bytes | None:
        try:
            return await self._coming.receive()
        except trio.EndOfChannel:
            raise StreamLost("the stream ended") from None

    def answer(self, number: int, outcome: Outcome = Outcome.ACCEPTED) -> None:
        """Acknowledge a packet."""
        self._answers.send_nowait(encode_ack(Ack(number, outcome)))

    def lose(self) -> None:
        """End the stream from the other side."""
        self._answers.close()

    async def close(self) -> None:
        self.closed.set()

    async def reset(self) -> None:
        self.closed.set()


class FakeHost:
    """Opens a `FakeStream` to whatever device, and hands the test its other end."""

    def __init__(self) -> None:
        self.network = empty_network()
        self.refused: set[int | None] = set()
        self.opened_in, self.opened = trio.open_memory_channel[tuple[PeerId, FakeStream]](1000)
        self.events_in, self._events = trio.open_memory_channel[Connected | Disconnected](100)

    async def open_stream(self, peer: PeerId, _protocol: str, *, on: int | None = None) -> FakeStream:
        await trio.lowlevel.checkpoint()
        if on in self.refused:
            raise StreamLost("no stream on that connection")
        stream = FakeStream(peer, on)
        self.opened_in.send_nowait((peer, stream))
        return stream

    @contextmanager
    def subscribe(self) -> Iterator[trio.MemoryReceiveChannel[Connected | Disconnected]]:
        yield self._events

    def connections(self, _peer: PeerId | None = None) -> tuple[Any, ...]:
        return ()


class FakeReach:
    """Everybody is connected, over connection `used`, and has a session."""

    def __init__(self) -> None:
        self.used: int | None = None
        self.answers = trio.Event()
        self.answers.set()
        self.waiting = False
        self.heard: list[int | None] = []
        self.sent_bytes = 0

    async def connect(self, _contact_id: int, _peer: PeerId) -> None:
        await self.answers.wait()

    async def prepare(self, _contact_id: int, _device_key: bytes) -> None:
        await trio.lowlevel.checkpoint()

    def path(self, _peer: PeerId) -> str:
        return "lan"

    def use(self, _peer: PeerId) -> int | None:
        return self.used

    def in_flight(self, _peer: PeerId, *, flag: bool) -> None:
        self.waiting = flag

    def acknowledged(self, _peer: PeerId, number: int | None) -> None:
        self.heard.append(number)

    def carried(self, _peer: PeerId, _number: int | None, size: int) -> None:
        self.sent_bytes += size


class DirectDatabase:
    """The database in this thread, so that a mock clock can run beside it; it fails `failures` times first."""

    def __init__(self, path: Path) -> None:
        self.connection = Connection.open(path, bytes(32))
        migrate(self.connection)
        self.failures = 0
        self.goes_on = trio.Event()
        self.goes_on.set()

    async def run(self, function: Callable[[Tx], T]) -> T:
        await self._pass()
        return self.connection.run(function)

    async def read(self, function: Callable[[Tx], T]) -> T:
        await self._pass()
        return self.connection.read(function)

    async def _pass(self) -> None:
        await self.goes_on.wait()
        if self.failures:
            self.failures -= 1
            raise StoreError("the disk failed")


class World:
    """A database with contacts, and messages to them."""

    def __init__(self, path: Path) -> None:
        self.database = DirectDatabase(path / "covey.db")
        self.ledger = Ledger(self.database, Events())  # type: ignore[arg-type]
        self.host = FakeHost()
        self.reach = FakeReach()
        account, device = crypto.Account.generate(os.urandom), crypto.DeviceKeys.generate(os.urandom)
        local = crypto.LocalDevice(device, crypto.DeviceList.first(account, device, now=1))
        self.own = Own(account, local, Identity(device.ed25519_seed), now=lambda: 1.7e9 + trio.current_time())

    def close(self) -> None:
        """Close the database."""
        self.database.connection.close()

    def contact(self, alias: str = "bob") -> int:
        """Add a contact; returns its row id."""
        row = ContactRow(os.urandom(32), alias, ContactState.ACCEPTED, 0.0)
        return self.database.connection.run(lambda tx: contacts.add(tx, row)).id

    async def queue(self, contact_id: int, device_key: bytes, *, drop_first: bool = False) -> int:
        """Queue a message for a device as the node does; returns its row id."""

        def add(tx: Tx, effects: Any) -> int:
            now = self.own.now()
            message = messages.add(
                tx,
                MessageRow(contact_id, True, os.urandom(16), "text", b"content", "text", now, Status.QUEUED, now),
            )
            assert message is not None
            packet = os.urandom(4096)
            deliveries.enqueue(
                tx,
                contact_id=contact_id,
                device_key=device_key,
                now=now,
                message_row=message.id,
                content=b"content",
                packet=packet,
                packet_hash=hashlib.sha256(packet).digest(),
            )
            if drop_first:
                effects.drop(contact_id)
            effects.lane(contact_id, device_key)
            return message.id

        return await self.ledger.change(add)

    def status(self, message_row: int) -> Status:
        """How far a message is."""
        row = self.database.connection.read(lambda tx: messages.get(tx, message_row))
        assert row is not None
        return row.status
