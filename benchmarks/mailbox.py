"""How many messages a second the relay's mailbox stores take and give, each one on the disk before it is answered.

Owns: a load of many connections over `MailboxLine`, without the network, empty and with a million messages; what is
measured over the network is in mailbox_wire.py and mailbox_nodes.py. Targets: DESIGN 10. Spec: docs/spec/mailbox.md.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
import trio

from benchmarks import mailbox_nodes, mailbox_wire
from benchmarks.report import AtLeast, Row, median, note, percentile
from covey_core.limits import MAILBOX_BLOB_BYTES
from covey_core.wire import mailbox as m
from covey_relay import limits
from covey_relay.limits import MailboxLimits
from covey_relay.mailbox import operations as op
from covey_relay.mailbox.line import MailboxLine, open_line
from covey_relay.mailbox.operations import MailboxStore
from covey_relay.mailbox.stores import open_store
from tests.support import postgres

MESSAGES, QUICK_MESSAGES = 1_000_000, 8_192
"""In the store when it is measured the second time."""
PART, QUICK_PART = 20_480, 1_024
"""Deposits in one measurement."""
TASKS = 512
QUEUES = 2_000
BOUNDS = MailboxLimits(queues=10_000, queue_messages=2**20, queue_bytes=2**40, disk_bytes=2**36)
WRITER = bytes(32)
SMALL = MAILBOX_BLOB_BYTES[0]
BLOB = hashlib.shake_256(b"a sealed message").digest(SMALL)


def run(*, quick: bool) -> list[Row]:
    part, count = (QUICK_PART, QUICK_MESSAGES) if quick else (PART, MESSAGES)
    with tempfile.TemporaryDirectory(dir=os.environ.get("COVEY_BENCH_DIR"), prefix="covey-mailbox-") as folder:
        flush = _flush_seconds(Path(folder))
        note(f"a flush of 1 MiB takes {flush * 1000:.2f} ms here; messages of {SMALL:,} bytes, {TASKS} tasks")
        path = Path(folder) / "mailboxes.db"
        rows = trio.run(_measure_sqlite, partial(open_store, path=path, bounds=BOUNDS), part, count)
    over_the_wire = [*mailbox_wire.run(quick=quick), *mailbox_nodes.run(quick=quick)]
    return [*rows, *_measure_postgres(part), *over_the_wire]


async def _measure_sqlite(make: Callable[[], MailboxStore], part: int, count: int) -> list[Row]:
    async with open_line(make) as line:
        await _create(line)
        empty = await _Puts.measure(line, 0, part)
        begun = time.perf_counter()
        filled = await _fill(line, 3 * part, count)
        note(f"filled to {filled:,} messages in {time.perf_counter() - begun:.0f} s, batch behind batch")
        full = await _Puts.measure(line, filled, part)
        usage = await line.outside(lambda store: store.usage())
        pages = range(0, QUEUES, 2)
        seconds = await _all(len(pages), lambda number: _get(line, pages[number]))
        gets = sum(min(_in_queue(queue, usage.messages), 63) for queue in pages) / seconds
        seconds = await _all(QUEUES // 4, lambda queue: _ack(line, queue, usage.messages))
        acked = sum(_in_queue(queue, usage.messages) for queue in range(QUEUES // 4))
    return [
        Row("durable PUT, SQLite", empty.rate, "messages/s", AtLeast(10_000)),
        Row("PUT, CPU", empty.cpu_us, "us/message"),
        Row("PUT answered, p50", percentile(empty.waits, 0.5) * 1000, "ms"),
        Row("PUT answered, p99", percentile(empty.waits, 0.99) * 1000, "ms"),
        Row(f"durable PUT with {filled:,} messages", full.rate, "messages/s"),
        Row("PUT, CPU, then", full.cpu_us, "us/message"),
        Row("its rate against the empty store", full.rate / empty.rate, "x", AtLeast(0.8)),
        Row("GET in pages of 63", gets, "messages/s"),
        Row("durable ACK, a queue at once", acked / seconds, "messages/s"),
        Row("disk", usage.used_bytes / usage.messages, "bytes/message"),
    ]


def _measure_postgres(part: int) -> list[Row]:
    """The same load on one relay over a server of its own; the server's CPU is not counted."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(
                postgres.running(Path(os.environ.get("COVEY_BENCH_DIR", tempfile.gettempdir())))
            )
        except pytest.skip.Exception as exc:
            note(str(exc))
            return [Row("durable PUT, PostgreSQL", None, "messages/s")]
        puts = trio.run(_measure_puts, partial(open_store, path=Path(), bounds=BOUNDS, url=server.url), part)
    return [
        Row("durable PUT, PostgreSQL", puts.rate, "messages/s"),
        Row("PUT, PostgreSQL, CPU of the relay", puts.cpu_us, "us/message"),
    ]


async def _measure_puts(make: Callable[[], MailboxStore], part: int) -> _Puts:
    async with open_line(make) as line:
        await _create(line)
        return await _Puts.measure(line, 0, part)


class _Puts:
    """Three parts of deposits, each answered when it is on the disk: the median rate, CPU a message, all waits."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.rate = self.cpu_us = 0.0

    @classmethod
    async def measure(cls, line: MailboxLine, first: int, count: int) -> _Puts:
        puts = cls()
        rates: list[float] = []
        cpu = time.process_time()
        for start in range(first, first + 3 * count, count):
            seconds = await _all(count, lambda number, start=start: puts.put(line, start + number))  # type: ignore[misc]
            rates.append(count / seconds)
        puts.cpu_us = (time.process_time() - cpu) / (3 * count) * 1e6
        puts.rate = median(rates)
        return puts

    async def put(self, line: MailboxLine, number: int) -> None:
        begun = time.perf_counter()
        done = await line.do(_deposit(number))
        self.waits.append(time.perf_counter() - begun)
        assert isinstance(done, op.Deposited)


async def _create(line: MailboxLine) -> None:
    for queue in range(QUEUES):
        await line.do(op.Create(_id(0, queue) + bytes(8), m.AdmitKey(WRITER), _id(1, queue), _id(2, queue)))


async def _fill(line: MailboxLine, first: int, count: int) -> int:
    """Deposit until there are `count` messages; return how many there are."""
    for start in range(first, count, limits.MAILBOX_BATCH):
        numbers = range(start, min(count, start + limits.MAILBOX_BATCH))
        done = await line.do_all([_deposit(number) for number in numbers])
        assert all(isinstance(one, op.Deposited) for one in done)
    return max(first, count)


def _deposit(number: int) -> op.Deposit:
    """The message of this number; queues take turns. An hour has 20,000."""
    return op.Deposit(_id(2, number % QUEUES), _mid(number), BLOB, 2**40 + number // 20_000 * 3600, WRITER)


def _in_queue(queue: int, messages: int) -> int:
    return len(range(queue, messages, QUEUES))


async def _all(count: int, work: Callable[[int], Awaitable[None]]) -> float:
    """Do `count` pieces of work in many tasks; return the seconds it took."""
    numbers = iter(range(count))

    async def task() -> None:
        for number in numbers:
            await work(number)

    begun = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(TASKS):
            nursery.start_soon(task)
    return time.perf_counter() - begun


async def _get(line: MailboxLine, queue: int) -> None:
    assert isinstance(await line.do(op.Fetch(_id(1, queue), 0, 63, 2**30)), op.Fetched)


async def _ack(line: MailboxLine, queue: int, messages: int) -> None:
    mids = tuple(_mid(number) for number in range(queue, messages, QUEUES))
    assert await line.do(op.Acknowledge(_id(1, queue), mids)) == len(mids)


def _id(kind: int, queue: int) -> bytes:
    return hashlib.shake_128(bytes([kind]) + queue.to_bytes(4, "big")).digest(24)


def _mid(number: int) -> bytes:
    return hashlib.shake_128(number.to_bytes(8, "big")).digest(16)


def _flush_seconds(folder: Path) -> float:
    """The median time of writing and flushing 1 MiB: what the disk allows."""
    path = folder / "flush"
    times = []
    with path.open("wb") as file:
        for _ in range(8):
            file.write(BLOB * 255)
            file.flush()
            begun = time.perf_counter()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - begun)
    path.unlink()
    return median(times)
