"""Packets at three replicas: nothing is lost while one relay fails, lies or forgets, and what is shown is so."""

from __future__ import annotations

import hashlib
import tempfile
from functools import partial
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from covey_node import limits
from covey_node.protocol.backoff import Backoff
from covey_node.protocol.replication import Check, Copies, Pause, Put, Replica, Wait, missed, next_check, quorum
from covey_node.protocol.status import ContactState, Status
from covey_node.store import contacts, deliveries, deposits, messages, peer_mailboxes
from covey_node.store.connection import Connection
from covey_node.store.contacts import ContactRow
from covey_node.store.deposits import Place
from covey_node.store.messages import MessageRow
from covey_node.store.migrations import migrate
from covey_node.store.tx import Tx
from tests.node.protocol.replication_world import Recipient, Relay, relay_id, told
from tests.node.store.conftest import KEY

DEVICE = b"d" * 32
HOUR = 3600.0
RANK = {Status.QUEUED: 0, Status.STORED: 1, Status.DELIVERED: 2}


# --- one replica ------------------------------------------------------------------------------------------------------


def a_replica(*, check_at: float = 1e9) -> Replica:
    return Replica(Pause(Backoff(2, 300)), check_at)


def test_a_quorum_is_more_than_half() -> None:
    assert [quorum(n) for n in range(1, 6)] == [1, 2, 2, 3, 3]
    assert [Copies(k, 3).enough for k in range(4)] == [False, False, True, True]
    assert not Copies(0, 0).enough
    assert str(Copies(2, 3)) == "2/3"


def test_packets_go_in_order_as_soon_as_each_is_due() -> None:
    replica = a_replica()
    replica.queue([3, 1], due=10.0)
    replica.queue([2], due=5.0)
    replica.queue([3], due=20.0)  # never later than it was
    assert replica.next(now=4.0) == Wait(5.0)
    assert replica.next(now=5.0) == Put((2,))
    replica.putting([2])
    assert replica.next(now=9.0) == Wait(10.0)
    assert replica.next(now=10.0) == Put((1, 3))
    replica.queue([2], due=0.0)
    assert len(replica) == 3, "one that is under way is not queued a second time"


def test_no_more_than_a_window_is_under_way() -> None:
    replica = a_replica()
    replica.queue(range(100), due=0.0)
    first = replica.next(now=0.0)
    assert first == Put(tuple(range(limits.DEPOSITS_UNDER_WAY)))
    replica.putting(first.deliveries)
    assert replica.next(now=0.0) == Wait(1e9)
    replica.stored(0, now=0.0)
    assert replica.next(now=0.0) == Put((limits.DEPOSITS_UNDER_WAY,))


def test_what_waits_for_the_direct_way_is_due_when_that_is_gone() -> None:
    replica = a_replica()
    replica.queue([1], due=10.0)
    replica.hurry(now=3.0)
    assert replica.next(now=3.0) == Put((1,))
    replica.withdraw([1, 7])
    assert len(replica) == 0


def test_failures_of_a_relay_pause_all_its_queues_and_many_at_once_count_as_one() -> None:
    pause = Pause(Backoff(2, 300))
    one, other = Replica(pause, 1e9), Replica(pause, 1e9)
    one.queue([1, 2], due=0.0)
    one.putting([1, 2])
    other.queue([9], due=0.0)
    assert one.unreachable([1], "home: no answer", now=5.0, jitter=0.5)
    assert not one.unreachable([2], "home: no answer", now=5.1, jitter=0.5)
    assert pause.failures == 1
    assert one.next(now=5.2) == other.next(now=5.2) == Wait(6.5)
    assert other.reason == "home: no answer"
    assert one.next(now=6.5) == Put((1,)), "one packet alone finds out whether it works again"
    one.putting([1])
    assert one.next(now=6.5) == Wait(1e9)
    assert one.stored(1, now=7.0)
    assert not other.fails
    assert other.not_before == 0.0
    assert one.next(now=7.0) == Put((2,))


def test_a_relay_that_works_again_is_asked_what_it_still_has() -> None:
    replica = a_replica()
    replica.queue([1], due=0.0)
    replica.putting([1])
    replica.unreachable([1], "no answer", now=0.0, jitter=0.0)
    replica.putting([1])
    assert replica.next(now=5.0) == Wait(1e9)
    assert replica.stored(1, now=5.0)
    assert replica.next(now=5.0) == Check()
    replica.checking()
    assert replica.next(now=5.0) == Wait(None)
    assert not replica.checked(now=6.0, jitter=0.5)
    assert replica.next(now=6.0) == Wait(6.0 + HOUR)


def test_a_full_queue_pauses_itself_and_no_other_of_its_relay() -> None:
    pause = Pause(Backoff(2, 300))
    one, other = Replica(pause, 1e9), Replica(pause, 1e9)
    one.queue([1], due=0.0)
    other.queue([2], due=0.0)
    one.putting([1])
    assert one.refused([1], "home: full", now=0.0, jitter=0.0)
    assert one.next(now=1.0) == Wait(limits.DEPOSIT_REFUSED_SECONDS_MIN / 2)
    assert other.next(now=1.0) == Put((2,))
    for attempt in range(20):
        now = one.not_before
        assert one.next(now=now) == Put((1,)), attempt
        one.putting([1])
        one.refused([1], "home: full", now=now, jitter=1.0)
        assert one.not_before - now <= limits.DEPOSIT_PAUSE_SECONDS_MAX


def test_a_busy_relay_says_when_to_come_back_and_is_believed_for_an_hour() -> None:
    for asked, waits in ((0.0, 1.0), (120.0, 120.0), (86_400.0, HOUR)):
        replica = a_replica()
        replica.queue([1, 2], due=0.0)
        replica.putting([1, 2])
        replica.put_off([1], "busy", seconds=asked, now=0.0, jitter=0.0)
        assert not replica.stored(2, now=0.5), "no reason to ask what lies there"
        assert replica.reason == "busy"
        assert replica.next(now=0.9) == Wait(waits), "what was done meanwhile does not end it"
        assert replica.next(now=waits) == Put((1,))
        replica.putting([1])
        assert not replica.stored(1, now=waits)
        assert replica.reason is None
        assert replica.next(now=waits) == Wait(1e9)


def test_checks_are_spread_over_the_hour_and_name_what_is_missing() -> None:
    assert [next_check(100.0, jitter=j) - 100.0 for j in (0.0, 0.5, 1.0)] == [0.75 * HOUR, HOUR, 1.25 * HOUR]
    assert missed([3, 1, 2], [2]) == (1, 3)
    replica = a_replica(check_at=0.0)
    replica.relay.failed("no answer", now=0.0, jitter=0.0)
    replica.queue([1], due=0.0)
    assert replica.next(now=replica.not_before) == Put((1,)), "a packet finds out first"
    replica.withdraw([1])
    assert replica.next(now=replica.not_before) == Check()
    replica.checking()
    replica.unreachable((), "no answer", now=replica.not_before, jitter=0.0)
    replica.check_failed()
    assert replica.next(now=replica.not_before) == Check()


# --- three replicas, and all that can happen to them ------------------------------------------------------------------


class Replication(RuleBasedStateMachine):
    """The machines and the store against relays of which one may do anything; the recipient is mostly away."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.connection = Connection.open(Path(self.folder.name) / "covey.db", KEY)
        migrate(self.connection)
        row = ContactRow(account_key=b"b" * 32, alias="Bob", state=ContactState.ACCEPTED, created_at=1.0)
        self.bob = self.connection.run(lambda tx: contacts.add(tx, row)).id
        self.relays = [Relay(number) for number in range(1, 4)]
        self.spare = 4
        self.set_number = 0
        self.recipient = Recipient()
        self.now = 100.0
        self.sent: dict[bytes, int] = {}  # packet -> message row
        self.ranks: dict[int, int] = {}
        self.replicas: dict[int, Replica] = {}
        self.more: set[int] = set()
        self.flying: list[tuple[Relay, bytes, int, bytes, bytes]] = []

    @initialize(faulty=st.integers(0, 2))
    def begin(self, faulty: int) -> None:
        self.relays[faulty].faulty = True
        self.tell_the_set()

    def tell_the_set(self) -> None:
        self.set_number += 1
        mailboxes = told(self.set_number, self.relays)
        assert self.connection.run(lambda tx: peer_mailboxes.save(tx, self.bob, DEVICE, mailboxes))
        self.load()

    def load(self) -> None:
        """Begin as a process does: with what the database holds."""
        old, self.replicas = self.replicas, {}
        for relay in self.relays:
            pause = old[relay.number].relay if relay.number in old else Pause(Backoff(2, 300))
            self.replicas[relay.number] = Replica(pause, self.now + HOUR / 2)
            self.more.add(relay.number)

    def place(self, relay: Relay, send_id: bytes | None = None) -> Place:
        return Place(self.bob, DEVICE, relay_id(relay.number), send_id or relay.send_id)

    def mid(self, relay: Relay, packet_hash: bytes) -> bytes:
        return hashlib.sha256(relay.send_id + packet_hash).digest()[:16]

    # --- the sender

    @rule()
    def a_message_is_written(self) -> None:
        number = len(self.sent) + 1
        packet = b"packet %d" % number

        def write(tx: Tx) -> int:
            row = messages.add(
                tx,
                MessageRow(
                    self.bob, True, number.to_bytes(16, "big"), "text", b"", "t", self.now, Status.QUEUED, self.now
                ),
            )
            assert row is not None
            deliveries.enqueue(
                tx,
                contact_id=self.bob,
                device_key=DEVICE,
                now=self.now,
                message_row=row.id,
                content_id=row.message_id,
                packet=packet,
                packet_hash=hashlib.sha256(packet).digest(),
            )
            return row.id

        self.sent[packet] = self.connection.run(write)
        self.more.update(self.replicas)

    @rule()
    def the_sender_works(self) -> None:
        for relay in self.relays:
            self.work(relay)

    def work(self, relay: Relay) -> None:
        replica = self.replicas[relay.number]
        if relay.number in self.more:  # something was written, or a process began: only then the database is asked
            self.more.discard(relay.number)
            ids = self.connection.read(lambda tx: deposits.missing(tx, self.place(relay), after=0, limit=256))
            replica.queue([row_id for row_id, _ in ids], due=self.now)
        match replica.next(now=self.now):
            case Put(wanted):
                replica.putting(wanted)
                found = self.connection.read(lambda tx: deposits.packets(tx, wanted))
                for gone in set(wanted) - {row.delivery for row in found}:
                    replica.done(gone)
                for row in found:
                    self.flying.append((relay, relay.send_id, row.delivery, row.packet, row.packet_hash))
            case Check():
                replica.checking()
                self.ask(relay, replica)

    def ask(self, relay: Relay, replica: Replica) -> None:
        if not relay.up:
            replica.unreachable((), "no answer", now=self.now, jitter=0.5)
            replica.check_failed()
            return
        rows = self.connection.read(lambda tx: deposits.lying(tx, self.place(relay), after=0, limit=256))
        mids = {self.mid(relay, packet_hash): delivery for delivery, packet_hash in rows}
        held = relay.have(relay.send_id, list(mids))
        gone = missed(mids.values(), [mids[mid] for mid in held or ()])
        self.connection.run(lambda tx: deposits.lost(tx, self.place(relay), gone, now=self.now, reason="lost"))
        if held is None:
            replica.refused((), "gone", now=self.now, jitter=0.5)
            replica.check_failed()
        else:
            replica.queue(gone, due=self.now)
            replica.checked(now=self.now, jitter=0.5)

    @precondition(lambda self: self.flying)
    @rule(at=st.integers(0, 1000), fate=st.sampled_from(("arrives", "arrives", "twice", "answer lost", "lost")))
    def a_deposit(self, at: int, fate: str) -> None:
        relay, send_id, delivery, packet, packet_hash = self.flying.pop(at % len(self.flying))
        answer = None
        if relay.up and fate != "lost":
            for _ in range(2 if fate == "twice" else 1):
                answer = relay.put(send_id, hashlib.sha256(send_id + packet_hash).digest()[:16], packet)
        if fate == "answer lost":
            answer = None
        place = self.place(relay, send_id)
        if answer == "Stored":
            self.connection.run(lambda tx: deposits.stored(tx, place, [(delivery, packet_hash)], now=self.now))
        replica = self.replicas.get(relay.number)
        if replica is None or send_id != relay.send_id:
            return  # of a queue that has left the set meanwhile
        if answer == "Stored":
            replica.stored(delivery, now=self.now)
        elif answer == "AUTH":
            replica.refused([delivery], "gone", now=self.now, jitter=0.5)
        else:
            replica.unreachable([delivery], "no answer", now=self.now, jitter=0.5)

    @rule()
    def the_sender_restarts(self) -> None:
        self.flying.clear()
        self.replicas.clear()
        self.load()

    @rule(seconds=st.sampled_from((1.0, 30.0, HOUR, 2 * HOUR)))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    # --- the relays

    @rule(at=st.integers(0, 2))
    def a_relay_goes_or_comes(self, at: int) -> None:
        if all(relay.up for relay in self.relays) or not self.relays[at].up:
            self.relays[at].up = not self.relays[at].up

    @rule()
    def the_faulty_one_lies_or_stops_lying(self) -> None:
        for relay in self.relays:
            relay.lies = relay.faulty and not relay.lies

    @rule()
    def the_faulty_one_is_copied(self) -> None:
        for relay in self.relays:
            relay.older = dict(relay.held)

    @rule()
    def the_faulty_one_is_set_back(self) -> None:
        for relay in self.relays:
            if relay.faulty:
                relay.held, relay.acked = dict(relay.older), set()

    @rule()
    def the_faulty_one_loses_its_disk(self) -> None:
        for relay in self.relays:
            if relay.faulty:
                relay.held, relay.acked, relay.older, relay.exists = {}, set(), {}, False

    @rule()
    def relays_forget_what_was_acknowledged(self) -> None:
        for relay in self.relays:
            relay.acked.clear()

    # --- the recipient

    @rule(at=st.integers(0, 2))
    def the_recipient_fetches(self, at: int) -> None:
        relay = self.relays[at]
        if relay.up and relay.exists:
            self.recipient.fetch(relay)

    @precondition(lambda self: self.recipient.receipts)
    @rule(comes=st.booleans())
    def a_receipt(self, comes: bool) -> None:
        packet = self.recipient.receipts.pop(0)
        if comes:
            self.receipt(packet)

    def receipt(self, packet: bytes) -> None:
        def take(tx: Tx) -> None:
            row = messages.get(tx, self.sent[packet])
            assert row is not None
            for delivery in deliveries.with_content(tx, self.bob, DEVICE, row.message_id):
                deliveries.finish(tx, delivery, Status.DELIVERED, now=self.now)

        self.connection.run(take)

    @rule()
    def the_recipient_mends_its_set(self) -> None:
        """A queue that its relay lost is made anew; the new set is told."""
        if any(not relay.exists and relay.up for relay in self.relays):
            for relay in self.relays:
                if not relay.exists and relay.up:
                    relay.exists, relay.generation = True, relay.generation + 1
            self.tell_the_set()

    @precondition(lambda self: self.spare < 7)
    @rule(at=st.integers(0, 2))
    def the_recipient_moves_to_another_relay(self, at: int) -> None:
        old = self.relays[at]
        if old.up and old.exists:
            self.recipient.fetch(old)  # it takes what lies there along
        elif not old.faulty:
            return  # one that is only away comes back; giving up two in a row is more than one failure
        self.relays[at] = Relay(self.spare, faulty=old.faulty)
        self.replicas.pop(old.number)
        self.spare += 1
        self.tell_the_set()

    # --- what must hold

    @invariant()
    def no_status_goes_back(self) -> None:
        for row_id in self.sent.values():
            row = self.connection.read(partial(messages.get, row_id=row_id))
            assert row is not None
            assert RANK[row.status] >= self.ranks.get(row_id, 0)
            self.ranks[row_id] = RANK[row.status]

    @invariant()
    def what_an_honest_relay_is_said_to_have_it_has_or_the_recipient_has_it(self) -> None:
        for packet, row_id in self.sent.items():
            found = self.connection.read(partial(deposits.of_message, message_row=row_id))
            copies, replicas = found or (Copies(0, 0), ())
            assert copies.stored <= copies.of <= 3
            for relay, one in zip(self.relays, replicas, strict=False):
                if one.stored_at is not None and not relay.faulty and packet not in self.recipient.shown:
                    assert packet in relay.held.values()

    @invariant()
    def an_undelivered_packet_is_kept_and_nothing_is_shown_twice(self) -> None:
        for row_id in self.sent.values():
            kept = self.connection.read(partial(deliveries.of_message, message_row=row_id))
            row = self.connection.read(partial(messages.get, row_id=row_id))
            assert row is not None
            assert bool(kept) == (row.status is not Status.DELIVERED)
        assert len(set(self.recipient.shown)) == len(self.recipient.shown)

    def teardown(self) -> None:
        """From now on nothing fails: all that was written arrives, once, and its sender hears of it."""
        if self.set_number:
            self.end_well()
        self.connection.close()
        self.folder.cleanup()

    def the_sender_goes_on(self) -> None:
        """Let hours pass in which everything that was asked is answered."""
        for _ in range(8):
            self.the_sender_works()
            while self.flying:
                self.a_deposit(0, "arrives")
            self.now += HOUR

    def every_copy_is_there(self) -> None:
        """What was lost is laid down again: each relay has every packet of which the sender has not heard."""
        self.no_status_goes_back()
        for packet, row_id in self.sent.items():
            if self.ranks[row_id] == RANK[Status.DELIVERED]:
                continue
            found = self.connection.read(partial(deposits.of_message, message_row=row_id))
            assert found is not None
            assert found[0] == Copies(3, 3)
            packet_hash = hashlib.sha256(packet).digest()
            for relay in self.relays:
                assert packet in relay.held.values() or self.mid(relay, packet_hash) in relay.acked

    def end_well(self) -> None:
        for relay in self.relays:
            relay.up, relay.lies = True, False
        self.the_recipient_mends_its_set()
        self.the_sender_goes_on()
        self.every_copy_is_there()
        for _ in range(8):
            self.the_sender_goes_on()
            for at in range(3):
                self.the_recipient_fetches(at)
            while self.recipient.receipts:
                self.a_receipt(comes=True)
            self.no_status_goes_back()
            if all(rank == RANK[Status.DELIVERED] for rank in self.ranks.values()):
                break
            self.relays_forget_what_was_acknowledged()  # a receipt was lost: it comes again with the packet
        assert sorted(self.recipient.shown) == sorted(self.sent)
        assert all(rank == RANK[Status.DELIVERED] for rank in self.ranks.values())


Replication.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestReplication = Replication.TestCase


@pytest.mark.parametrize("copies", [0, 1, 2])
def test_what_is_called_stored_outlives_any_one_relay(copies: int) -> None:
    """The quorum of three is two: of the relays that said Stored, one may have lied, the other has it."""
    assert Copies(copies, 3).enough == (copies - 1 >= 1)
