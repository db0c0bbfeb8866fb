"""A storm of deposits from many tasks, which says on its output what was answered. Its test kills it in the middle.

usage: python -m tests.relay.mailbox.storm FILE|URL LIFE
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
from covey_relay.mailbox.operations import MailboxStore
from covey_relay.mailbox.stores import open_store

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


def opened(where: str) -> MailboxStore:
    """The store at a path or a URL."""
    return open_store(path=Path(where), bounds=BOUNDS, url=where if "://" in where else "")


async def storm(where: str, life: int) -> None:
    async with open_line(lambda: opened(where)) as line, trio.open_nursery() as nursery:
        for task in range(TASKS):
            nursery.start_soon(deposit, line, task, life)


if __name__ == "__main__":
    trio.run(storm, sys.argv[1], int(sys.argv[2]))
