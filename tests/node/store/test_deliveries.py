"""The outbox against a model: nothing is lost, order is kept, and a status tells the truth about its packets."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from covey_node.protocol.status import OPEN, ContactState, Status
from covey_node.store import contacts, deliveries, messages
from covey_node.store.connection import Connection
from covey_node.store.contacts import ContactRow
from covey_node.store.deliveries import DeliveryRow, OutboxFull
from covey_node.store.messages import MessageRow
from covey_node.store.migrations import migrate
from covey_node.store.tx import Tx

from .conftest import KEY

DEVICES = (b"1" * 32, b"2" * 32, b"3" * 32)


def message(contact_id: int, number: int) -> MessageRow:
    return MessageRow(contact_id, True, number.to_bytes(16, "big"), "text", b"body", "text", 1.0, Status.QUEUED, 1.0)


def queue(tx: Tx, row: MessageRow, device: bytes, *, now: float, packet: bytes | None = b"p" * 4096) -> DeliveryRow:
    number = int.from_bytes(row.message_id, "big")
    return deliveries.enqueue(
        tx,
        contact_id=row.contact_id,
        device_key=device,
        now=now,
        message_row=row.id,
        content=None if packet else b"content",
        packet=packet,
        packet_hash=number.to_bytes(32, "big") if packet else None,
        lifetime_seconds=1000.0,
    )


def stored(tx: Tx, contact_id: int, number: int = 1) -> MessageRow:
    row = messages.add(tx, message(contact_id, number))
    assert row is not None
    return row


@dataclass
class Packet:
    """What the model knows of one delivery."""

    message: int
    device: bytes
    next_at: float
    expires_at: float
    state: Status = Status.QUEUED
    ended: Status | None = None


@dataclass
class Model:
    packets: dict[int, Packet] = field(default_factory=dict)
    statuses: dict[int, Status] = field(default_factory=dict)

    def open_of(self, message_row: int) -> list[Packet]:
        return [packet for packet in self.packets.values() if packet.message == message_row and packet.ended is None]

    def end(self, row_id: int, outcome: Status) -> None:
        packet = self.packets[row_id]
        if packet.ended is not None:
            return
        packet.ended = outcome
        status = self.statuses[packet.message]
        if outcome is Status.DELIVERED:
            if status in OPEN:
                self.statuses[packet.message] = Status.DELIVERED
        elif not self.open_of(packet.message) and status in OPEN:
            self.statuses[packet.message] = outcome


class Outbox(RuleBasedStateMachine):
    rows: Bundle[int] = Bundle("rows")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "covey.db"
        self.connection = Connection.open(self.path, KEY)
        migrate(self.connection)
        row = ContactRow(account_key=b"b" * 32, alias="Bob", state=ContactState.ACCEPTED, created_at=1.0)
        self.contact_id = self.connection.run(lambda tx: contacts.add(tx, row)).id
        self.model = Model()
        self.now = 10.0
        self.count = 0

    def teardown(self) -> None:
        self.connection.close()
        self.folder.cleanup()

    @rule(target=rows, device=st.sampled_from(DEVICES), fan_out=st.booleans())
    def send(self, device: bytes, fan_out: bool) -> int:
        self.count += 1

        def function(tx: Tx) -> list[DeliveryRow]:
            row = stored(tx, self.contact_id, self.count)
            return [queue(tx, row, each, now=self.now) for each in (DEVICES if fan_out else (device,))]

        queued = self.connection.run(function)
        for row in queued:
            assert row.message_row is not None
            self.model.packets[row.id] = Packet(row.message_row, row.device_key, self.now, self.now + 1000)
            self.model.statuses[row.message_row] = Status.QUEUED
        return queued[0].id

    @rule(row_id=rows, wait=st.floats(min_value=1, max_value=100))
    def sent(self, row_id: int, wait: float) -> None:
        packet = self.model.packets[row_id]
        self.connection.run(lambda tx: deliveries.sent(tx, row_id, now=self.now, retry_at=self.now + wait))
        if packet.ended is None:
            packet.state, packet.next_at = Status.SENT, self.now + wait
            if self.model.statuses[packet.message] is Status.QUEUED:
                self.model.statuses[packet.message] = Status.SENT

    @rule(row_id=rows, wait=st.floats(min_value=1, max_value=100))
    def postponed(self, row_id: int, wait: float) -> None:
        packet = self.model.packets[row_id]
        self.connection.run(lambda tx: deliveries.postpone(tx, row_id, until=self.now + wait, reason="not reachable"))
        if packet.ended is None:
            packet.next_at = self.now + wait

    @rule(row_id=rows, outcome=st.sampled_from((Status.DELIVERED, Status.FAILED)))
    def finished(self, row_id: int, outcome: Status) -> None:
        self.connection.run(lambda tx: deliveries.finish(tx, row_id, outcome, now=self.now))
        self.model.end(row_id, outcome)

    @rule(device=st.sampled_from(DEVICES))
    def appeared(self, device: bytes) -> None:
        self.connection.run(lambda tx: deliveries.wake(tx, self.contact_id, device, now=self.now))
        for packet in self.model.packets.values():
            if packet.device == device and packet.ended is None:
                packet.next_at = min(packet.next_at, self.now)

    @rule(seconds=st.sampled_from((1.0, 30.0, 400.0)))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.connection.run(lambda tx: deliveries.expire(tx, now=self.now))
        late = [(packet.expires_at, row_id) for row_id, packet in self.model.packets.items() if packet.ended is None]
        for expires_at, row_id in sorted(late):
            if expires_at <= self.now:
                self.model.end(row_id, Status.EXPIRED)

    @rule(row_id=consumes(rows))
    def read_by_them(self, row_id: int) -> None:
        message_row = self.model.packets[row_id].message
        self.connection.run(lambda tx: messages.move(tx, message_row, Status.READ, now=self.now))
        if self.model.statuses[message_row] in OPEN | {Status.DELIVERED}:
            self.model.statuses[message_row] = Status.READ

    @rule()
    def the_process_restarts(self) -> None:
        self.connection.close()
        self.connection = Connection.open(self.path, KEY)

    @invariant()
    def the_database_says_what_the_model_says(self) -> None:
        def look(tx: Tx) -> None:
            for device in DEVICES:
                due = [row.id for row in deliveries.due(tx, self.contact_id, device, now=self.now)]
                assert due == [
                    row_id
                    for row_id, packet in sorted(self.model.packets.items())
                    if packet.ended is None and packet.device == device and packet.next_at <= self.now
                ]
            for message_row, status in self.model.statuses.items():
                row = messages.get(tx, message_row)
                assert row is not None
                assert row.status == status
            still = [packet for packet in self.model.packets.values() if packet.ended is None]
            assert deliveries.waiting(tx) == len({packet.message for packet in still})
            assert deliveries.next_deadline(tx) == (
                min(min(packet.next_at, packet.expires_at) for packet in still) if still else None
            )
            assert tx.number("SELECT count(*) FROM deliveries") == len(still)

        self.connection.read(look)


TestOutbox = Outbox.TestCase
TestOutbox.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


def test_a_delivered_packet_is_deleted_and_its_message_told(connection: Connection, bob: ContactRow) -> None:
    row = connection.run(lambda tx: stored(tx, bob.id))
    packet = connection.run(lambda tx: queue(tx, row, DEVICES[0], now=1.0))
    found = connection.read(lambda tx: deliveries.by_hash(tx, DEVICES[0], packet.packet_hash or b""))
    assert found == packet
    moved = connection.run(lambda tx: deliveries.finish(tx, packet.id, Status.DELIVERED, now=9.0, path="relayed"))
    assert moved is not None
    assert (moved.status, moved.status_at, moved.path) == (Status.DELIVERED, 9.0, "relayed")
    assert connection.read(lambda tx: tx.number("SELECT count(*) FROM deliveries")) == 0
    assert connection.read(lambda tx: deliveries.by_hash(tx, DEVICES[0], packet.packet_hash or b"")) is None
    again = connection.run(lambda tx: deliveries.finish(tx, packet.id, Status.DELIVERED, now=10.0))
    assert again is None


def test_a_message_fails_only_when_its_last_packet_has_failed(connection: Connection, bob: ContactRow) -> None:
    row = connection.run(lambda tx: stored(tx, bob.id))
    first, second = connection.run(lambda tx: [queue(tx, row, device, now=1.0) for device in DEVICES[:2]])
    assert connection.run(lambda tx: deliveries.finish(tx, first.id, Status.FAILED, now=2.0, reason="revoked")) is None
    moved = connection.run(lambda tx: deliveries.finish(tx, second.id, Status.FAILED, now=3.0, reason="revoked"))
    assert moved is not None
    assert (moved.status, moved.reason) == (Status.FAILED, "revoked")


def test_a_reason_is_shown_while_a_message_waits_and_goes_when_it_is_sent(
    connection: Connection, bob: ContactRow
) -> None:
    row = connection.run(lambda tx: stored(tx, bob.id))
    packet = connection.run(lambda tx: queue(tx, row, DEVICES[0], now=1.0))
    told = connection.run(lambda tx: deliveries.postpone(tx, packet.id, until=5.0, reason="no path to Bob"))
    assert told is not None
    assert (told.reason, told.attempts) == ("no path to Bob", 1)
    again = connection.run(lambda tx: deliveries.postpone(tx, packet.id, until=9.0, reason="no path to Bob"))
    assert again is None  # nothing a person would see has changed
    moved = connection.run(lambda tx: deliveries.sent(tx, packet.id, now=9.0, retry_at=39.0, path="lan"))
    assert moved is not None
    assert (moved.status, moved.reason, moved.path) == (Status.SENT, None, "lan")
    assert connection.read(lambda tx: [row.attempts for row in deliveries.of_message(tx, row.id)]) == [3]


def test_a_content_waits_for_a_session_and_becomes_a_packet(connection: Connection, bob: ContactRow) -> None:
    row = connection.run(lambda tx: stored(tx, bob.id))
    waiting = connection.run(lambda tx: queue(tx, row, DEVICES[0], now=1.0, packet=None))
    assert (waiting.content, waiting.packet) == (b"content", None)
    connection.run(lambda tx: deliveries.encrypted(tx, waiting.id, packet=b"sealed", packet_hash=b"h" * 32))
    [due] = connection.read(lambda tx: deliveries.due(tx, bob.id, DEVICES[0], now=1.0))
    assert (due.content, due.packet, due.packet_hash) == (None, b"sealed", b"h" * 32)


def test_a_delivery_without_anything_to_deliver_is_a_mistake(connection: Connection, bob: ContactRow) -> None:
    for packet, packet_hash in ((None, None), (b"p", None), (None, b"h" * 32)):
        with pytest.raises(ValueError, match="carries"):
            connection.run(
                lambda tx, packet=packet, packet_hash=packet_hash: deliveries.enqueue(  # type: ignore[misc]
                    tx, contact_id=bob.id, device_key=DEVICES[0], now=1.0, packet=packet, packet_hash=packet_hash
                )
            )


def test_the_outbox_is_bounded_and_says_so(
    connection: Connection, bob: ContactRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "OUTBOX_PER_DEVICE", 3)
    for number in range(3):
        connection.run(lambda tx, number=number: queue(tx, stored(tx, bob.id, number), DEVICES[0], now=1.0))  # type: ignore[misc]
    with pytest.raises(OutboxFull, match=r"3 packets wait for this device already \(limit 3\)"):
        connection.run(lambda tx: queue(tx, stored(tx, bob.id, 9), DEVICES[0], now=1.0))
    assert connection.read(lambda tx: messages.find(tx, bob.id, (9).to_bytes(16, "big"), outgoing=True)) is None
    connection.run(lambda tx: queue(tx, stored(tx, bob.id, 9), DEVICES[1], now=1.0))
    first = connection.read(lambda tx: deliveries.due(tx, bob.id, DEVICES[0], now=1.0))[1]
    connection.run(lambda tx: deliveries.finish(tx, first.id, Status.DELIVERED, now=2.0))
    connection.run(lambda tx: queue(tx, stored(tx, bob.id, 10), DEVICES[0], now=1.0))


def test_blocking_ends_everything_that_waits_for_a_contact(connection: Connection, bob: ContactRow) -> None:
    for number in range(3):
        connection.run(lambda tx, number=number: queue(tx, stored(tx, bob.id, number), DEVICES[0], now=1.0))  # type: ignore[misc]
    ended = connection.run(lambda tx: deliveries.drop_of_contact(tx, bob.id, now=2.0, reason="blocked"))
    assert [(row.status, row.reason) for row in ended] == [(Status.FAILED, "blocked")] * 3
    assert connection.read(deliveries.next_deadline) is None


def test_the_devices_with_something_due_are_told_longest_due_first(connection: Connection, bob: ContactRow) -> None:
    for number, device in enumerate(DEVICES):
        connection.run(
            lambda tx, number=number, device=device: queue(tx, stored(tx, bob.id, number), device, now=9.0 - number)  # type: ignore[misc]
        )
    due = connection.read(lambda tx: deliveries.due_devices(tx, now=8.0))
    assert due == ((bob.id, DEVICES[2]), (bob.id, DEVICES[1]))
