"""A store against a dict: random operations in random batches, time that goes on, restarts in between."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from covey_core.wire import mailbox as m
from covey_relay import limits
from covey_relay.limits import MailboxLimits
from covey_relay.mailbox import operations as op
from covey_relay.mailbox.operations import MailboxStore, Operation, Outcome, Refusal
from covey_relay.mailbox.postgres import PostgresStore
from covey_relay.mailbox.sqlite import SqliteStore
from tests.support.postgres import Server

NOW = 1_700_000_000
SMALL, LARGE = 4_112, 65_552
BOUNDS = MailboxLimits(queues=2, queue_messages=3, queue_bytes=LARGE + 2 * SMALL)
QUEUES = st.integers(0, 2)
MIDS = st.integers(0, 5)


@dataclass
class Lying:
    seq: int
    mid: int
    size: int
    ends: int


@dataclass
class Model:
    """One queue as it should be."""

    writer: int
    lying: list[Lying] = field(default_factory=list)
    acked: dict[int, tuple[int, int]] = field(default_factory=dict)  # mid: seq, until
    last_seq: int = 0

    def known(self, mid: int, now: int) -> int | None:
        for one in self.lying:
            if one.mid == mid and one.ends > now:
                return one.seq
        seq, until = self.acked.get(mid, (0, 0))
        return seq if until > now else None


def key(queue: int) -> bytes:
    return bytes([queue + 1]) * 32


def recv(queue: int) -> bytes:
    return bytes([queue + 50]) * 24


def send(queue: int) -> bytes:
    return bytes([queue + 100]) * 24


def writer(number: int) -> bytes:
    return bytes([number + 200]) * 32


def mid_of(number: int) -> bytes:
    return bytes([number]) * 16


class StoreMachine(RuleBasedStateMachine):
    """Operations gather, are expected by the model one after the other, and are applied in one transaction."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = self.opened()
        self.now = NOW
        self.queues: dict[int, Model] = {}
        self.batch: list[Operation] = []
        self.expected: list[Outcome] = []

    def opened(self) -> MailboxStore:
        return SqliteStore(Path(self.folder.name) / "mailboxes.db", BOUNDS)

    def ask(self, operation: Operation, expected: Outcome) -> None:
        self.batch.append(operation)
        self.expected.append(expected)

    @initialize()
    def begin_with_a_message(self) -> None:
        self.create(0, 0)
        self.deposit(0, 0, 0, SMALL, 9)

    @rule(queue=QUEUES, by=st.integers(0, 1))
    def create(self, queue: int, by: int) -> None:
        there = self.queues.get(queue)
        outcome: Outcome = op.Created(recv(queue), send(queue))
        if there is not None:
            outcome = outcome if there.writer == by else Refusal.GONE
        elif len(self.queues) == 2:
            outcome = Refusal.QUEUES
        else:
            self.queues[queue] = Model(by)
        self.ask(op.Create(key(queue), m.AdmitKey(writer(by)), recv(queue), send(queue)), outcome)

    @rule(queue=QUEUES)
    def remove(self, queue: int) -> None:
        there = self.queues.pop(queue, None)
        self.ask(op.Remove(recv(queue)), Refusal.GONE if there is None else True)

    @rule(queue=QUEUES, by=st.integers(0, 1))
    def rotate(self, queue: int, by: int) -> None:
        there = self.queues.get(queue)
        if there is not None:
            there.writer = by
        self.ask(op.Rotate(recv(queue), m.AdmitKey(writer(by))), Refusal.GONE if there is None else True)

    @rule(
        queue=QUEUES,
        by=st.integers(0, 1),
        mid=MIDS,
        size=st.sampled_from([SMALL, SMALL, LARGE]),
        hours=st.integers(1, 9),
    )
    def deposit(self, queue: int, by: int, mid: int, size: int, hours: int) -> None:
        ends = self.now + hours * 3600
        there = self.queues.get(queue)
        operation = op.Deposit(send(queue), mid_of(mid), bytes([mid]) * size, ends, writer(by))
        self.ask(operation, self.deposited(there, by, mid, size, ends))

    def deposited(self, there: Model | None, by: int, mid: int, size: int, ends: int) -> Outcome:
        if there is None or there.writer != by:
            return Refusal.GONE
        known = there.known(mid, self.now)
        if known is not None:
            return op.Deposited(known, new=False)
        there.lying = [one for one in there.lying if one.mid != mid]
        if len(there.lying) >= 3 or sum(one.size for one in there.lying) + size > BOUNDS.queue_bytes:
            return Refusal.QUOTA
        there.last_seq += 1
        there.lying.append(Lying(there.last_seq, mid, size, ends))
        return op.Deposited(there.last_seq, new=True)

    @rule(queue=QUEUES, mids=st.sets(MIDS, min_size=1))
    def acknowledge(self, queue: int, mids: set[int]) -> None:
        there = self.queues.get(queue)
        operation = op.Acknowledge(recv(queue), tuple(map(mid_of, mids)))
        if there is None:
            self.ask(operation, Refusal.GONE)
            return
        gone = [one for one in there.lying if one.mid in mids]
        there.lying = [one for one in there.lying if one.mid not in mids]
        there.acked.update({one.mid: (one.seq, self.now + limits.MAILBOX_ACKED_SECONDS) for one in gone})
        self.ask(operation, len(gone))

    @rule(queue=QUEUES, mids=st.sets(MIDS, min_size=1))
    def have(self, queue: int, mids: set[int]) -> None:
        there = self.queues.get(queue)
        held = () if there is None else tuple(mid_of(one) for one in mids if there.known(one, self.now) is not None)
        self.ask(op.Held(send(queue), tuple(map(mid_of, mids))), Refusal.GONE if there is None else held)

    @rule(queue=QUEUES, after=st.integers(0, 6), most=st.integers(1, 4))
    def fetch(self, queue: int, after: int, most: int) -> None:
        there = self.queues.get(queue)
        operation = op.Fetch(recv(queue), after, most, 10**9)
        if there is None:
            self.ask(operation, Refusal.GONE)
            return
        alive = [one for one in there.lying if one.ends > self.now and one.seq > after]
        listed = tuple(m.StoredMessage(one.seq, mid_of(one.mid), bytes([one.mid]) * one.size) for one in alive[:most])
        self.ask(operation, op.Fetched(listed, more=len(alive) > most))

    @rule()
    def expire(self) -> None:
        ended = 0
        for there in self.queues.values():
            ended += len([one for one in there.lying if one.ends <= self.now])
            there.lying = [one for one in there.lying if one.ends > self.now]
        self.ask(op.Expire(1000), op.Expired(ended, 0, more=False))

    @rule()
    def commit(self) -> None:
        batch, expected = self.batch, self.expected
        self.batch, self.expected = [], []
        assert self.store.apply(batch, now=self.now) == expected

    @rule(hours=st.sampled_from([1, 3, 30]))
    def time_goes_on(self, hours: int) -> None:
        self.commit()
        self.now += hours * 3600

    @rule()
    def start_again(self) -> None:
        self.commit()
        self.store.close()
        self.store = self.opened()

    @precondition(lambda self: not self.batch)
    @invariant()
    def the_totals_are_those_of_the_queues(self) -> None:
        usage = self.store.usage()
        lying = [one for there in self.queues.values() for one in there.lying]
        assert (usage.queues, usage.messages) == (len(self.queues), len(lying))
        assert usage.earliest_end == min((one.ends for one in lying), default=None)

    def teardown(self) -> None:
        self.commit()
        self.store.close()
        self.folder.cleanup()


class PostgresMachine(StoreMachine):
    """The same over a server."""

    def __init__(self, server: Server) -> None:
        server.forget()
        self.server = server
        super().__init__()

    def opened(self) -> MailboxStore:
        return PostgresStore(self.server.url, BOUNDS)


def test_the_sqlite_store_does_what_the_model_does() -> None:
    run_state_machine_as_test(StoreMachine, settings=settings(max_examples=60, stateful_step_count=40, deadline=None))


def test_the_postgres_store_does_what_the_model_does(postgres: Server) -> None:
    run_state_machine_as_test(
        lambda: PostgresMachine(postgres), settings=settings(max_examples=40, stateful_step_count=40, deadline=None)
    )
