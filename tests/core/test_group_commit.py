"""One line for all that wait: who leads, what a batch may hold, what cancelling and closing leave behind."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial

import outcome
import pytest
import trio
import trio.testing

from covey_core.group_commit import GroupCommit


class LineOver(Exception):
    """The line is closed."""


class Work:
    """Does batches in a thread, and can be held up before one."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.failing: Exception | None = None
        self.closed = False

    def run(self, pieces: list[str]) -> Sequence[outcome.Outcome[str]]:
        assert self.gate.wait(30)
        assert not self.closed
        self.batches.append(pieces)
        if self.failing is not None:
            raise self.failing
        return [
            outcome.Error(ValueError(piece)) if piece.startswith("bad") else outcome.Value(piece.upper())
            for piece in pieces
        ]

    def close(self) -> None:
        assert not self.closed
        self.closed = True


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def line(work: Work) -> GroupCommit[str, str]:
    return GroupCommit(work.run, closed=LineOver, waiting=64, batch_count=8, batch_bytes=100)


async def blocked() -> None:
    await trio.testing.wait_all_tasks_blocked(0.01)


async def test_each_gets_his_own_result_in_the_order_of_coming(work: Work, line: GroupCommit[str, str]) -> None:
    results: dict[str, str] = {}

    async def ask(piece: str) -> None:
        results[piece] = await line.do(piece)

    pieces = [f"piece {n}" for n in range(100)]
    async with trio.open_nursery() as nursery:
        for piece in pieces:
            nursery.start_soon(ask, piece)
    assert results == {piece: piece.upper() for piece in pieces}
    assert sorted(piece for batch in work.batches for piece in batch) == sorted(pieces)
    assert max(map(len, work.batches)) == 8
    assert len(work.batches) <= 14


async def test_a_batch_holds_so_many_bytes_and_a_larger_piece_goes_alone(
    work: Work, line: GroupCommit[str, str]
) -> None:
    work.gate.clear()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(line.do, "first")
        await blocked()
        for piece, size in (("a", 60), ("b", 40), ("c", 1), ("d", 500), ("e", 100), ("f", 0)):
            nursery.start_soon(lambda piece=piece, size=size: line.do(piece, size=size))  # type: ignore[misc]
            await blocked()
        work.gate.set()
    assert work.batches == [["first"], ["a", "b"], ["c"], ["d"], ["e", "f"]]


async def test_one_that_fails_fails_alone_and_a_batch_that_fails_fails_whole(
    work: Work, line: GroupCommit[str, str]
) -> None:
    failed: list[str] = []

    async def ask(piece: str) -> None:
        try:
            await line.do(piece)
        except (ValueError, OSError) as exc:
            failed.append(f"{piece}: {exc}")

    async with trio.open_nursery() as nursery:
        for piece in ("good", "bad", "fine"):
            nursery.start_soon(ask, piece)
    assert failed == ["bad: bad"]
    work.failing = OSError("no disk")
    async with trio.open_nursery() as nursery:
        for piece in ("a", "b"):
            nursery.start_soon(ask, piece)
    assert sorted(failed[1:]) == ["a: no disk", "b: no disk"]
    work.failing = None
    assert await line.do("later") == "LATER"


@pytest.mark.parametrize("moment", ["waiting", "chosen to lead", "leading", "led by another"])
async def test_whenever_one_is_cancelled_all_others_go_on(work: Work, line: GroupCommit[str, str], moment: str) -> None:
    """Before it is chosen it is not done; from then on it is, and its result returned."""
    done: list[str] = []
    scope = trio.CancelScope()

    async def ask(piece: str) -> None:
        done.append(await line.do(piece))

    async def ask_in_scope() -> None:
        with scope:
            await ask("cancelled")

    async def lead() -> None:
        await ask("first")
        if moment == "chosen to lead":  # this task led, and has just woken the next one
            scope.cancel()

    work.gate.clear()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lead)
        await blocked()
        order = [partial(ask, "b"), ask_in_scope, partial(ask, "c")]
        for start in order if moment == "led by another" else [order[1], order[0], order[2]]:
            nursery.start_soon(start)
            await blocked()
        if moment == "waiting":
            scope.cancel()
            await blocked()
        elif moment in {"leading", "led by another"}:
            work.gate.set()
            while len(work.batches) < 1:
                await trio.lowlevel.checkpoint()
            work.gate.clear()
            await blocked()
            scope.cancel()
            await blocked()
        work.gate.set()
    assert sorted(one for one in done if one != "CANCELLED") == ["B", "C", "FIRST"]
    assert ("CANCELLED" in done) == any("cancelled" in batch for batch in work.batches)
    assert ("CANCELLED" in done) == (moment != "waiting")
    assert await line.do("after") == "AFTER"


async def test_who_finds_the_line_full_waits_before_it(work: Work) -> None:
    line: GroupCommit[str, str] = GroupCommit(work.run, closed=LineOver, waiting=3, batch_count=8)
    work.gate.clear()
    async with trio.open_nursery() as nursery:
        for n in range(7):
            nursery.start_soon(line.do, f"{n}")
        await blocked()
        assert len(line._line) <= 2  # one leads
        work.gate.set()
    assert sum(map(len, work.batches)) == 7
    assert max(map(len, work.batches)) <= 3


async def test_closing_finishes_what_waits_once_and_takes_nothing_more(work: Work, line: GroupCommit[str, str]) -> None:
    results: list[str] = []

    async def ask(piece: str) -> None:
        results.append(await line.do(piece))

    work.gate.clear()
    async with trio.open_nursery() as nursery:
        for n in range(20):
            nursery.start_soon(ask, f"{n}")
        await blocked()
        nursery.start_soon(line.aclose, work.close)
        await blocked()
        with pytest.raises(LineOver):
            await line.do("too late")
        work.gate.set()
    assert len(results) == 20
    assert work.closed
    await line.aclose(work.close)
    with pytest.raises(LineOver):
        await line.do("too late")
