"""A storm of deposits from many tasks, which says on its output what was answered. Its test kills it in the middle.

usage: python -m tests.relay.mailbox.storm DATABASE
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import trio

from covey_core.wire import mailbox as m
from covey_relay.limits import MailboxLimits
from covey_relay.mailbox import operations as op
from covey_relay.mailbox.line import MailboxLine, open_line
from covey_relay.mailbox.sqlite import SqliteStore

BOUNDS = MailboxLimits(queue_messages=100_000, queue_bytes=2**30)
WRITER = bytes(32)
TASKS = 32


def recv_id(task: int) -> bytes:
    return bytes([1, task]) * 12


def send_id(task: int) -> bytes:
    return bytes([2, task]) * 12


def blob_of(mid: bytes) -> bytes:
    return (mid * 257)[:4_112]


async def deposit(line: MailboxLine, task: int, life: int) -> None:
    await line.do(op.Create(bytes([task]) * 32, m.AdmitKey(WRITER), recv_id(task), send_id(task)))
    number = 0
    while True:
        mid = bytes([life, task]) + number.to_bytes(14, "big")
        done = await line.do(op.Deposit(send_id(task), mid, blob_of(mid), 2**40, WRITER))
        assert isinstance(done, op.Deposited), done
        os.write(1, f"{mid.hex()}\n".encode())
        number += 1


async def storm(path: Path, life: int) -> None:
    async with open_line(lambda: SqliteStore(path, BOUNDS)) as line, trio.open_nursery() as nursery:
        for task in range(TASKS):
            nursery.start_soon(deposit, line, task, life)


if __name__ == "__main__":
    trio.run(storm, Path(sys.argv[1]), int(sys.argv[2]))
