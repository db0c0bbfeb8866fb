"""Group commit: who waits together is committed together, and what was answered survives a kill."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

from covey_core.wire import mailbox as m
from covey_relay import limits
from covey_relay.limits import MailboxLimits
from covey_relay.mailbox import operations as op
from covey_relay.mailbox.line import open_line
from covey_relay.mailbox.operations import Arrivals, Arrived, Operation, Outcome, Refusal, StoreFailed, Usage
from covey_relay.mailbox.sqlite import SqliteStore


class Arriving:
    """Says nothing at first, then of one arrival at each wait."""

    def __init__(self) -> None:
        self.waits = 0
        self.closed = False

    def wait(self, *, seconds: float) -> Arrived | None:
        assert not self.closed
        self.waits += 1
        return None if self.waits == 1 else Arrived((bytes([self.waits]) * 32,))

    def close(self) -> None:
        self.closed = True


class Recording:
    """A store that answers each operation with its place in the whole order, and can be told to fail."""

    def __init__(self) -> None:
        self.batches: list[list[Operation]] = []
        self.failing: StoreFailed | None = None
        self.closed = False
        self.arriving: Arriving | None = None

    def apply(self, operations: Sequence[Operation], *, now: int) -> list[Outcome]:
        assert not self.closed
        if self.failing is not None:
            raise self.failing
        before = sum(map(len, self.batches))
        self.batches.append(list(operations))
        return [before + place for place in range(len(operations))]

    def usage(self) -> Usage:
        return Usage(0, 0, 0, None)

    def give_back(self, *, bytes_max: int) -> int:
        return 0

    def arrivals(self) -> Arrivals | None:
        return self.arriving

    def close(self) -> None:
        self.closed = True


def find(number: int) -> op.FindOwned:
    return op.FindOwned(bytes([number % 256]) * 24)


async def test_who_waits_together_is_committed_together_and_gets_his_own_answer() -> None:
    store = Recording()
    answers: dict[int, list[Outcome]] = {}

    async def ask(number: int) -> None:
        answers[number] = await line.do_all([find(number), find(number)])

    async with open_line(lambda: store) as line, trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(ask, number)
    order = [one for batch in store.batches for one in batch]
    assert len(order) == 200
    assert len(store.batches) <= 4
    for number, places in answers.items():
        assert [order[int(str(place))] for place in places] == [find(number), find(number)]
    assert store.closed


async def test_a_batch_has_bounds() -> None:
    store = Recording()
    large = op.Deposit(bytes(24), bytes(16), bytes(65_552), 1, None)
    async with open_line(lambda: store) as line:
        for operation, count in ((large, 300), (find(1), 1200)):
            async with trio.open_nursery() as nursery:
                for _ in range(count):
                    nursery.start_soon(line.do, operation)
    assert max(map(len, store.batches)) == limits.MAILBOX_BATCH
    heavy = max(sum(len(one.blob) for one in batch if isinstance(one, op.Deposit)) for batch in store.batches)
    assert heavy <= limits.MAILBOX_BATCH_BYTES
    with pytest.raises(ValueError, match="513"):
        await line.do_all([find(1)] * 513)


async def test_a_store_that_fails_fails_all_that_waited_and_goes_on() -> None:
    store = Recording()
    failed: list[str] = []

    async def ask() -> None:
        try:
            await line.do(find(1))
        except StoreFailed as exc:
            failed.append(str(exc))

    async with open_line(lambda: store) as line:
        store.failing = StoreFailed("no disk")
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(ask)
        assert failed == ["no disk"] * 5
        store.failing = None
        assert await line.do(find(1)) == 0
    with pytest.raises(StoreFailed, match="closed"):
        await line.do(find(1))


async def test_cancelled_callers_hold_up_nobody() -> None:
    store = Recording()
    async with open_line(lambda: store) as line:
        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(line.do, find(number))
            await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        with trio.fail_after(10):
            await line.do(find(1))


async def test_what_other_relays_deposit_is_told_and_a_store_of_one_relay_has_nothing_to_tell() -> None:
    store = Recording()
    told: list[Arrived] = []
    async with open_line(lambda: store) as line:
        with trio.fail_after(10):
            await line.listen(told.append)
        store.arriving = Arriving()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(line.listen, told.append)
            with trio.fail_after(10):
                while len(told) < 2:
                    await line.do(find(1))
            nursery.cancel_scope.cancel()
        assert told[:2] == [Arrived((bytes([n]) * 32,)) for n in (2, 3)]
        assert store.arriving.closed


async def test_a_real_store_behind_the_line(tmp_path: Path) -> None:
    recv, send = bytes([1]) * 24, bytes([2]) * 24
    async with open_line(lambda: SqliteStore(tmp_path / "m.db", MailboxLimits()), wall_clock=lambda: 1000.9) as line:
        assert await line.do(op.FindOwned(recv)) is Refusal.GONE
        await line.do(op.Create(bytes(32), m.AdmitOpen(), recv, send))
        assert await line.do(op.Deposit(send, bytes(16), bytes(4_112), 1001, None)) == op.Deposited(1, new=True)
        fetched = await line.do(op.Fetch(recv, 0, 9, 9))
        assert isinstance(fetched, op.Fetched)
        assert len(fetched.messages) == 1
        assert (await line.outside(lambda store: store.usage())).queues == 1
