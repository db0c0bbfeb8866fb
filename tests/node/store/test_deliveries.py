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
from covey_node.store import contacts, deliveries, lanes, messages
from covey_node.store.connection import Connection
from covey_node.store.contacts import ContactRow
from covey_node.store.deliveries import DeliveryRow, OutboxFull
from covey_node.store.messages import MessageRow
from covey_node.store.migrations import migrate
from covey_node.store.tx import Tx

from .conftest import KEY

LIFETIME_SECONDS = 1000.0
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
        lifetime_seconds=LIFETIME_SECONDS,
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
    expires_at: float
    sealed: bool
    state: Status = Status.QUEUED
    ended: bool = False


@dataclass
class Model:
    packets: dict[int, Packet] = field(default_factory=dict)
    statuses: dict[int, Status] = field(default_factory=dict)

    def waiting(self, device: bytes) -> list[int]:
        return [
            row_id for row_id, packet in sorted(self.packets.items()) if packet.device == device and not packet.ended
        ]

    def end(self, row_id: int, outcome: Status) -> None:
        packet = self.packets[row_id]
        if packet.ended:
            return
        packet.ended = True
        others = [other for other in self.packets.values() if other.message == packet.message and not other.ended]
        if self.statuses[packet.message] in OPEN and (outcome is Status.DELIVERED or not others):
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

    @rule(target=rows, device=st.sampled_from(DEVICES), fan_out=st.booleans(), sealed=st.booleans())
    def send(self, device: bytes, fan_out: bool, sealed: bool) -> int:
        self.count += 1
        packet = b"p" * 4096 if sealed else None

        def function(tx: Tx) -> list[DeliveryRow]:
            row = stored(tx, self.contact_id, self.count)
            devices = DEVICES if fan_out else (device,)
            return [queue(tx, row, each, now=self.now, packet=packet) for each in devices]

        queued = self.connection.run(function)
        for row in queued:
            assert row.message_row is not None
            self.model.packets[row.id] = Packet(row.message_row, row.device_key, self.now + LIFETIME_SECONDS, sealed)
            self.model.statuses[row.message_row] = Status.QUEUED
        return queued[0].id

    @rule(device=st.sampled_from(DEVICES))
    def a_session_is_made(self, device: bytes) -> None:
        def seal(tx: Tx) -> None:
            for row_id, content in lanes.unsealed(tx, self.contact_id, device, limit=100):
                assert content == b"content"
                lanes.sealed(tx, row_id, packet=b"sealed %d" % row_id, packet_hash=row_id.to_bytes(32, "big"))

        self.connection.run(seal)
        for row_id in self.model.waiting(device):
            self.model.packets[row_id].sealed = True

    @rule(row_id=rows)
    def sent(self, row_id: int) -> None:
        packet = self.model.packets[row_id]
        self.connection.run(lambda tx: lanes.mark_sent(tx, [row_id], now=self.now, path="lan"))
        if not packet.ended:
            packet.state = Status.SENT
            if self.model.statuses[packet.message] is Status.QUEUED:
                self.model.statuses[packet.message] = Status.SENT

    @rule(device=st.sampled_from(DEVICES))
    def not_reached(self, device: bytes) -> None:
        self.connection.run(
            lambda tx: lanes.postpone_device(tx, self.contact_id, device, until=self.now + 9, reason="not reachable")
        )

    @rule(row_id=rows, outcome=st.sampled_from((Status.DELIVERED, Status.FAILED)))
    def finished(self, row_id: int, outcome: Status) -> None:
        self.connection.run(lambda tx: deliveries.finish(tx, row_id, outcome, now=self.now))
        self.model.end(row_id, outcome)

    @rule(seconds=st.sampled_from((1.0, 30.0, 400.0)))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.connection.run(lambda tx: deliveries.expire(tx, now=self.now))
        for row_id, packet in self.model.packets.items():
            if packet.expires_at <= self.now:
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
        self.connection.read(self.look)

    def look(self, tx: Tx) -> None:
        for device in DEVICES:
            waiting = self.model.waiting(device)
            sealed = [row_id for row_id in waiting if self.model.packets[row_id].sealed]
            found = lanes.ids(tx, self.contact_id, device, after=0, limit=1000)
            assert list(found) == waiting
            packets = lanes.packets(tx, found)
            assert [packet.id for packet in packets] == waiting
            assert [packet.id for packet in packets if packet.packet is not None] == sealed
            assert lanes.has_unsealed(tx, self.contact_id, device) == (sealed != waiting)
        for message_row, status in self.model.statuses.items():
            row = messages.get(tx, message_row)
            assert row is not None
            assert row.status == status
        is_open = [status for status in self.model.statuses.values() if status in OPEN]
        assert lanes.queued(tx) == lanes.queued(tx, self.contact_id) == len(is_open)
        assert {device for _, device in lanes.devices(tx)} == {each for each in DEVICES if self.model.waiting(each)}


TestOutbox = Outbox.TestCase
TestOutbox.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


def test_a_delivered_packet_is_deleted_and_its_message_told(connection: Connection, bob: ContactRow) -> None:
    row = connection.run(lambda tx: stored(tx, bob.id))
    packet = connection.run(lambda tx: queue(tx, row, DEVICES[0], now=1.0))
    assert connection.read(lambda tx: deliveries.get(tx, packet.id)) == packet
    moved = connection.run(lambda tx: deliveries.finish(tx, packet.id, Status.DELIVERED, now=9.0, path="relayed"))
    assert moved is not None
    assert (moved.status, moved.status_at, moved.path) == (Status.DELIVERED, 9.0, "relayed")
    assert connection.read(lambda tx: tx.number("SELECT count(*) FROM deliveries")) == 0
    assert connection.read(lambda tx: deliveries.get(tx, packet.id)) is None
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
    row, other = connection.run(lambda tx: [stored(tx, bob.id, number) for number in (1, 2)])
    packet = connection.run(lambda tx: [queue(tx, row, DEVICES[0], now=1.0), queue(tx, other, DEVICES[1], now=1.0)][0])

    def postpone(tx: Tx) -> tuple[MessageRow, ...]:
        return lanes.postpone_device(tx, bob.id, DEVICES[0], until=5.0, reason="no path to Bob")

    [told] = connection.run(postpone)
    assert (told.id, told.reason, told.attempts) == (row.id, "no path to Bob", 1)
    assert connection.read(lambda tx: lanes.next_attempt(tx, row.id)) == 5.0
    assert connection.run(postpone) == ()  # nothing a person would see has changed
    [moved] = connection.run(lambda tx: lanes.mark_sent(tx, [packet.id], now=9.0, path="lan"))
    assert (moved.status, moved.reason, moved.path, moved.attempts) == (Status.SENT, None, "lan", 2)
    untouched = connection.read(lambda tx: messages.get(tx, other.id))
    assert untouched is not None
    assert (untouched.reason, untouched.attempts) == (None, 0)


def test_contents_are_sealed_anew_when_a_session_was_lost(connection: Connection, bob: ContactRow) -> None:
    row = connection.run(lambda tx: stored(tx, bob.id))
    waiting = connection.run(lambda tx: queue(tx, row, DEVICES[0], now=1.0, packet=None))
    bare = connection.run(lambda tx: queue(tx, stored(tx, bob.id, 2), DEVICES[0], now=1.0))
    connection.run(lambda tx: lanes.sealed(tx, waiting.id, packet=b"sealed", packet_hash=b"h" * 32))
    found = connection.read(lambda tx: lanes.packets(tx, [bare.id, 10**6, waiting.id]))
    assert [(each.id, each.packet) for each in found] == [(bare.id, b"p" * 4096), (waiting.id, b"sealed")]
    assert connection.run(lambda tx: lanes.unseal_all(tx, bob.id, DEVICES[0])) == 1
    assert connection.read(lambda tx: [each.packet for each in lanes.packets(tx, [waiting.id])]) == [None]
    assert connection.read(lambda tx: lanes.unsealed(tx, bob.id, DEVICES[0], limit=9)) == ((waiting.id, b"content"),)


def test_messages_without_a_delivery_are_held_back(connection: Connection, bob: ContactRow) -> None:
    first, second, third = connection.run(lambda tx: [stored(tx, bob.id, number) for number in (1, 2, 3)])
    connection.run(lambda tx: queue(tx, second, DEVICES[0], now=1.0))
    assert connection.read(lambda tx: lanes.held_back(tx, bob.id)) == (first, third)
    connection.run(lambda tx: messages.delete(tx, third.id, now=2.0))
    assert connection.read(lambda tx: lanes.held_back(tx, bob.id)) == (first,)


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
    second = connection.read(lambda tx: lanes.ids(tx, bob.id, DEVICES[0], after=0, limit=9))[1]
    connection.run(lambda tx: deliveries.finish(tx, second, Status.DELIVERED, now=2.0))
    connection.run(lambda tx: queue(tx, stored(tx, bob.id, 10), DEVICES[0], now=1.0))


def test_blocking_ends_everything_that_waits_for_a_contact(connection: Connection, bob: ContactRow) -> None:
    for number in range(3):
        connection.run(lambda tx, number=number: queue(tx, stored(tx, bob.id, number), DEVICES[0], now=1.0))  # type: ignore[misc]
    ended = connection.run(lambda tx: deliveries.drop_of_contact(tx, bob.id, now=2.0, reason="blocked"))
    assert [(row.status, row.reason) for row in ended] == [(Status.FAILED, "blocked")] * 3
    assert connection.read(lanes.devices) == ()
