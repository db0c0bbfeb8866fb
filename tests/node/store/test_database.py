"""Functions that wait together are committed together, and whoever has a result has it on the disk."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import outcome
import pytest
import trio
import trio.testing

from covey_node import limits
from covey_node.store import account
from covey_node.store.connection import Call, CommitPoint, Connection
from covey_node.store.database import Database
from covey_node.store.errors import StoreClosed, StoreFull
from covey_node.store.tx import Tx

from .conftest import KEY


class Commits:
    """A hook that counts commits and can hold the worker thread before one."""

    def __init__(self) -> None:
        self.count = 0
        self.gate = threading.Event()
        self.gate.set()
        self.reached = threading.Event()

    def __call__(self, point: CommitPoint) -> None:
        if point is CommitPoint.BEFORE:
            self.reached.set()
            assert self.gate.wait(10)
        else:
            self.count += 1

    def hold(self) -> None:
        self.reached.clear()
        self.gate.clear()

    async def held(self) -> None:
        assert await trio.to_thread.run_sync(self.reached.wait, 10)


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[tuple[Database, Commits]]:
    commits = Commits()
    async with Database.open(path, KEY, on_commit=commits) as db:
        commits.count = 0
        try:
            yield db, commits
        finally:
            commits.gate.set()


def stored(path: Path) -> set[str]:
    """What another connection sees: only what was committed."""
    other = Connection.open(path, KEY)
    keys = other.read(lambda tx: {str(row[0]) for row in tx.all("SELECT key FROM meta")})
    other.close()
    return keys


async def put(db: Database, key: str) -> None:
    await db.run(lambda tx: account.set_meta(tx, key, b"v"))


async def test_a_result_is_given_out_only_after_its_commit(path: Path) -> None:
    async with opened(path) as (db, commits), trio.open_nursery() as nursery:
        returned = trio.Event()

        async def run() -> None:
            await put(db, "a")
            returned.set()

        commits.hold()
        nursery.start_soon(run)
        await commits.held()
        await trio.testing.wait_all_tasks_blocked()
        assert not returned.is_set()
        assert stored(path) == set()
        commits.gate.set()
        await returned.wait()
        assert stored(path) == {"a"}


async def test_functions_that_wait_at_the_same_time_share_one_commit(path: Path) -> None:
    async with opened(path) as (db, commits):
        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(put, db, f"{number}")
        assert commits.count == 1
        async with trio.open_nursery() as nursery:
            commits.hold()
            nursery.start_soon(put, db, "first")
            await commits.held()
            for number in range(50):
                nursery.start_soon(put, db, f"late {number}")
            await trio.testing.wait_all_tasks_blocked()
            commits.gate.set()
        assert commits.count == 3
    assert len(stored(path)) == 101


async def test_a_batch_is_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("covey_node.store.database.STORE_BATCH_CALLS", 10)
    async with opened(path) as (db, commits):
        async with trio.open_nursery() as nursery:
            for number in range(35):
                nursery.start_soon(put, db, f"{number}")
        assert commits.count == 4
    assert len(stored(path)) == 35


async def test_the_line_is_bounded_and_the_next_caller_waits(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("covey_node.store.database.STORE_QUEUE_CALLS", 3)
    async with opened(path) as (db, commits):
        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(put, db, f"{number}")
        assert commits.count >= 4
    assert len(stored(path)) == 10
    assert limits.STORE_QUEUE_CALLS >= 2 * limits.STORE_BATCH_CALLS


async def test_one_function_that_raises_harms_nobody_else(path: Path) -> None:
    async with opened(path) as (db, commits):
        raised: list[BaseException] = []

        def bad(tx: Tx) -> None:
            account.set_meta(tx, "bad", b"v")
            raise LookupError("on purpose")

        async def run_bad() -> None:
            with pytest.raises(LookupError, match="on purpose") as caught:
                await db.run(bad)
            raised.append(caught.value)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(put, db, "a")
            nursery.start_soon(run_bad)
            nursery.start_soon(put, db, "b")
        assert len(raised) == 1
        assert commits.count == 1
        await put(db, "c")
    assert stored(path) == {"a", "b", "c"}


async def test_a_commit_that_fails_is_raised_to_all_and_the_database_goes_on(path: Path) -> None:
    async with opened(path) as (db, _commits):
        pages = await db.read(lambda tx: tx.number("PRAGMA page_count"))
        await db.read(lambda tx: tx.all(f"PRAGMA max_page_count = {pages + 2}"))
        full: list[StoreFull] = []

        async def run(key: str, size: int) -> None:
            with pytest.raises(StoreFull) as caught:
                await db.run(lambda tx: account.set_meta(tx, key, bytes(size)))
            full.append(caught.value)

        async with trio.open_nursery() as nursery:
            for key, size in (("a", 1), ("b", 100_000), ("c", 1)):
                nursery.start_soon(run, key, size)
        assert len(full) == 3
        await put(db, "d")
    assert stored(path) == {"d"}


async def test_a_call_that_was_cancelled_before_it_started_is_not_done(path: Path) -> None:
    async with opened(path) as (db, commits):
        async with trio.open_nursery() as nursery:
            commits.hold()
            nursery.start_soon(put, db, "a")
            await commits.held()
            for key in "bcd":
                nursery.start_soon(put, db, key)
            await trio.testing.wait_all_tasks_blocked()
            with trio.move_on_after(0) as scope:
                await put(db, "cancelled")
            assert scope.cancelled_caught
            commits.gate.set()
        await put(db, "e")
    assert stored(path) == set("abcde")


async def test_a_call_that_was_cancelled_while_it_runs_is_finished_first(path: Path) -> None:
    async with opened(path) as (db, commits), trio.open_nursery() as nursery:
        ended: list[str] = []

        async def run(key: str, scope: trio.CancelScope) -> None:
            with scope:
                await put(db, key)
                ended.append(key)  # the result is returned even so: the caller knows that it is done

        scopes = [trio.CancelScope() for _ in range(3)]
        commits.hold()
        for key, scope in zip("abc", scopes, strict=True):
            nursery.start_soon(run, key, scope)
        await commits.held()
        for scope in scopes:
            scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert ended == []
        commits.gate.set()
        await trio.testing.wait_all_tasks_blocked()
        while len(ended) < 3:
            await trio.lowlevel.checkpoint()
        assert stored(path) == {"a", "b", "c"}


async def test_a_cancelled_next_leader_hands_the_lead_on(path: Path) -> None:
    """The first in the line is cancelled, and woken to lead before it notices: those behind it must go on."""
    async with opened(path) as (db, commits):
        scope = trio.CancelScope()
        line = db._line
        run_batch = line._run_in_thread

        async def run_and_cancel(calls: list[Call]) -> Sequence[outcome.Outcome[object]]:
            results = await run_batch(calls)
            scope.cancel()
            return results

        async def cancelled() -> None:
            with scope:
                await put(db, "never")

        async with trio.open_nursery() as nursery:
            commits.hold()
            line._run_in_thread = run_and_cancel  # type: ignore[method-assign, assignment]
            nursery.start_soon(put, db, "a")
            await commits.held()
            nursery.start_soon(cancelled)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(put, db, "b")
            nursery.start_soon(put, db, "c")
            await trio.testing.wait_all_tasks_blocked()
            commits.gate.set()
        assert scope.cancelled_caught
        await put(db, "after")
    assert stored(path) == {"a", "b", "c", "after"}


async def test_a_leader_that_is_cancelled_takes_nobody_with_it(path: Path) -> None:
    """Whatever the moment of the cancellation, those in the same batch get their results."""
    async with opened(path) as (db, _commits):
        for ticks in range(8):
            done: list[str] = []

            async def run(key: str, scope: trio.CancelScope, done: list[str] = done) -> None:
                with scope:
                    await put(db, key)
                    done.append(key)

            async def cancel(scope: trio.CancelScope, ticks: int = ticks) -> None:
                for _ in range(ticks):
                    await trio.lowlevel.checkpoint()
                scope.cancel()

            leader = trio.CancelScope()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run, f"{ticks} leader", leader)
                nursery.start_soon(cancel, leader)
                await trio.lowlevel.checkpoint()
                for number in range(3):
                    nursery.start_soon(run, f"{ticks} {number}", trio.CancelScope())
            assert {f"{ticks} {number}" for number in range(3)} <= set(done)
            kept = await db.read(lambda tx: {str(row[0]) for row in tx.all("SELECT key FROM meta")})
            assert {key for key in kept if key.startswith(f"{ticks} ")} == set(done)


async def test_a_read_sees_what_was_committed_and_never_waits_for_the_disk(path: Path) -> None:
    async with opened(path) as (db, commits):
        await put(db, "a")
        assert await db.read(lambda tx: account.get_meta(tx, "a")) == b"v"
        assert commits.count == 1


async def test_closing_finishes_what_waits_and_then_nothing_is_taken(path: Path) -> None:
    commits = Commits()
    async with trio.open_nursery() as nursery:
        async with Database.open(path, KEY, on_commit=commits) as db:
            commits.hold()
            for number in range(20):
                nursery.start_soon(put, db, f"{number}")
            await commits.held()
            nursery.start_soon(put, db, "last")
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(trio.to_thread.run_sync, commits.gate.set)
        with pytest.raises(StoreClosed):
            await put(db, "late")
    assert len(stored(path)) == 21
    assert not path.with_name("covey.db-wal").exists()


async def test_whoever_waits_for_a_place_in_the_line_is_refused_when_it_closes(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("covey_node.store.database.STORE_QUEUE_CALLS", 2)
    commits, refused = Commits(), list[str]()

    async def try_to_put(db: Database, key: str) -> None:
        try:
            await put(db, key)
        except StoreClosed:
            refused.append(key)

    async with trio.open_nursery() as nursery, Database.open(path, KEY, on_commit=commits) as db:
        commits.hold()
        nursery.start_soon(put, db, "a")
        await commits.held()
        for key in "bcd":
            nursery.start_soon(try_to_put, db, key)
            await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(trio.to_thread.run_sync, commits.gate.set)
    assert refused == ["c", "d"]
    assert stored(path) == {"a", "b"}


async def test_closing_during_a_cancellation_closes_the_file(path: Path) -> None:
    with trio.CancelScope() as scope:
        async with Database.open(path, KEY) as db:
            await put(db, "a")
            scope.cancel()
            await trio.sleep_forever()
    assert stored(path) == {"a"}
    assert not path.with_name("covey.db-wal").exists()
