"""How many messages a second the relay's mailbox store takes and gives, each one on the disk before it is answered.

Owns: a load of many connections over `MailboxLine`, without the network. Targets: DESIGN 10. Spec:
docs/spec/mailbox.md.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from benchmarks.report import AtLeast, Row, median, note, percentile
from covey_core.limits import MAILBOX_BLOB_BYTES
from covey_core.wire import mailbox as m
from covey_relay.limits import MailboxLimits
from covey_relay.mailbox import operations as op
from covey_relay.mailbox.line import MailboxLine, open_line
from covey_relay.mailbox.sqlite import SqliteStore

MESSAGES, QUICK_MESSAGES = 60_000, 2_000
TASKS = 512
QUEUES = 500
BOUNDS = MailboxLimits(queues=10_000, queue_messages=2**20, queue_bytes=2**40, disk_bytes=2**36)
WRITER = bytes(32)
SMALL = MAILBOX_BLOB_BYTES[0]
BLOB = hashlib.shake_256(b"a sealed message").digest(SMALL)


def run(*, quick: bool) -> list[Row]:
    count = QUICK_MESSAGES if quick else MESSAGES
    with tempfile.TemporaryDirectory(dir=os.environ.get("COVEY_BENCH_DIR"), prefix="covey-mailbox-") as folder:
        return trio.run(_measure, Path(folder), count)


async def _measure(folder: Path, count: int) -> list[Row]:
    path = folder / "mailboxes.db"
    flush = _flush_seconds(folder)
    note(f"a flush of 1 MiB takes {flush * 1000:.2f} ms here; {count:,} messages of {SMALL:,} bytes, {TASKS} tasks")
    async with open_line(lambda: SqliteStore(path, BOUNDS)) as line:
        for queue in range(QUEUES):
            await line.do(op.Create(_id(0, queue) + bytes(8), m.AdmitKey(WRITER), _id(1, queue), _id(2, queue)))
        waits: list[float] = []
        rates: list[float] = []
        for part in range(4):
            begun = time.process_time()
            seconds = await _all(count // 4, lambda number, part=part: _put(line, part, number, waits))  # type: ignore[misc]
            rates.append(count // 4 / seconds)
            cpu = time.process_time() - begun
        usage = await line.outside(lambda store: store.usage())
        pages = [queue for queue in range(QUEUES) for _ in range(2)]
        seconds = await _all(len(pages), lambda number: _get(line, pages[number]))
        per_queue = usage.messages // QUEUES
        gets = len(pages) * min(per_queue, 63) / seconds
        ack_seconds = await _all(QUEUES, lambda number: _ack(line, number, count // 4))
    return [
        Row("durable PUT, store", median(rates), "messages/s", AtLeast(10_000)),
        Row("the last quarter against the first", rates[-1] / rates[0], "x", AtLeast(0.8)),
        Row("PUT, CPU", cpu / (count // 4) * 1e6, "us/message"),
        Row("PUT answered, p50", percentile(waits, 0.5) * 1000, "ms"),
        Row("PUT answered, p99", percentile(waits, 0.99) * 1000, "ms"),
        Row("GET in pages of 63", gets, "messages/s"),
        Row("durable ACK", usage.messages / ack_seconds, "messages/s"),
        Row("disk", usage.used_bytes / usage.messages, "bytes/message"),
    ]


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


async def _put(line: MailboxLine, part: int, number: int, waits: list[float]) -> None:
    begun = time.perf_counter()
    done = await line.do(op.Deposit(_id(2, number % QUEUES), _mid(part, number), BLOB, 2**40, WRITER))
    waits.append(time.perf_counter() - begun)
    assert isinstance(done, op.Deposited)


async def _get(line: MailboxLine, queue: int) -> None:
    assert isinstance(await line.do(op.Fetch(_id(1, queue), 0, 63, 2**30)), op.Fetched)


async def _ack(line: MailboxLine, queue: int, part_size: int) -> None:
    for part in range(4):
        mids = tuple(_mid(part, number) for number in range(queue, part_size, QUEUES))
        if mids:
            assert await line.do(op.Acknowledge(_id(1, queue), mids)) == len(mids)


def _id(kind: int, queue: int) -> bytes:
    return hashlib.shake_128(bytes([kind]) + queue.to_bytes(4, "big")).digest(24)


def _mid(part: int, number: int) -> bytes:
    return hashlib.shake_128(bytes([part]) + number.to_bytes(4, "big")).digest(16)


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
