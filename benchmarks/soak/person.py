"""One visit of one person: a whole node in a process of its own, which the driver may kill at any moment.

Owns: what a person does while there, and what is told to the driver, each thing when it is durable: the database as it
is before the node starts, what was queued, statuses, and that all is at rest. Spec: docs/spec/mailbox.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio

from benchmarks.soak.judge import text_of
from covey_core.network import load_network
from covey_node.service.node import Node
from covey_node.store.home import SecretFile, open_home
from covey_node.store.tx import Tx
from tests.node.service.collect_world import all_confirmed
from tests.node.service.collect_world import until as holds
from tests.support.people import acquaint, running_node

NAMES = ("alice", "bob")
QUORUM = 2
WRITERS = 8
LOOK_SECONDS = 0.4
MEET_SECONDS = 60
KNOWN = {"delivered", "read"}

Tell = Callable[..., None]


@dataclass(frozen=True)
class Task:
    """What `me` does: write these numbers to `them`, and wait for what must come.

    `expects`: the numbers of theirs of which their node said that mailboxes have them. `answered`: those of ours for
    which the other one has laid down receipts.
    """

    me: str
    them: str
    numbers: range
    expects: frozenset[int]
    answered: frozenset[int]


async def meet(folder: Path, network: Path, relays: int) -> None:
    """Both are there, this once: they become contacts and tell each other their mailboxes at all relays."""
    with trio.fail_after(MEET_SECONDS):
        async with AsyncExitStack() as stack:
            alice, bob = [
                await stack.enter_async_context(running_node(folder / name, load_network(network), mailboxes=True))
                for name in NAMES
            ]
            await acquaint(alice, bob)
            await holds(alice, all_confirmed(relays))
            await holds(bob, all_confirmed(relays))


async def visit(folder: Path, network: Path, task: Task, tell: Tell) -> None:
    """Tell what the database has, run a node until all is at rest, leave, and tell what it has then."""
    sent = await _tell_all(folder / task.me, tell)
    async with running_node(folder / task.me, load_network(network), mailboxes=True) as node:
        tell("up")
        await Visitor(node, task, tell).run(dict(sent))
        tell("rests")
    await _tell_all(folder / task.me, tell)
    tell("left")


async def _tell_all(home: Path, tell: Tell) -> list[tuple[str, str]]:
    async with open_home(home, SecretFile(home.parent / f"{home.name}.secret")) as database:
        outgoing, incoming = await database.read(_everything)
    tell("has", outgoing, incoming)
    return outgoing


def _everything(tx: Tx) -> tuple[list[tuple[str, str]], list[str]]:
    rows = tx.all("SELECT outgoing, text, status FROM messages WHERE kind = 'text' ORDER BY id")
    return [(text, status) for out, text, status in rows if out], [text for out, text, _ in rows if not out]


class Visitor:
    """Writes, and watches the database until nothing is left to do."""

    def __init__(self, node: Node, task: Task, tell: Tell) -> None:
        self._node = node
        self._task = task
        self._tell = tell
        self._missing = {text_of(task.them, number) for number in task.expects}
        self._unknown = {text_of(task.me, number) for number in task.answered}
        self._statuses: dict[str, str] = {}

    async def run(self, sent: dict[str, str]) -> None:
        """Write what is not among `sent`; return when the mailboxes have it, and all that is expected is here."""
        numbers = iter([number for number in self._task.numbers if text_of(self._task.me, number) not in sent])
        self._missing -= await self._node._ledger.read(_incoming)
        self._unknown -= {text for text, status in sent.items() if status in KNOWN}
        first = await self._node._ledger.read(_first_open)
        async with trio.open_nursery() as watching:
            written = trio.Event()
            watching.start_soon(self._watch, first, written)
            async with trio.open_nursery() as writing:
                for _ in range(WRITERS):
                    writing.start_soon(self._write, numbers)
            written.set()

    async def _write(self, numbers: Iterator[int]) -> None:
        for number in numbers:
            text = text_of(self._task.me, number)
            await self._node.send(self._task.them, text, reply_to=None, disappear_seconds=None)
            self._tell("queued", number)

    async def _watch(self, first: int, written: trio.Event) -> None:
        while True:
            all_written = written.is_set()
            rows, waiting = await self._node._ledger.read(partial(_since, first))
            for outgoing, text, status in rows:
                if outgoing and self._statuses.get(text) != status:
                    self._statuses[text] = status
                    self._tell("status", text, status)
            self._missing -= {text for outgoing, text, _ in rows if not outgoing}
            self._unknown -= {text for outgoing, text, status in rows if outgoing and status in KNOWN}
            if all_written and not any((*waiting, self._missing, self._unknown)):
                return
            self._tell("waits", *waiting, len(self._missing), len(self._unknown), written.is_set())
            await trio.sleep(LOOK_SECONDS)


def _first_open(tx: Tx) -> int:
    """The row from which on something may still change or come."""
    return tx.number(
        "SELECT coalesce(min(id), (SELECT coalesce(max(id), 0) + 1 FROM messages)) FROM messages "
        "WHERE outgoing = 1 AND status NOT IN ('delivered', 'read')"
    )


def _since(first: int, tx: Tx) -> tuple[list[tuple[bool, str, str]], tuple[int, int]]:
    """The texts from a row on, and how much waits: packets at fewer mailboxes than a quorum, receipts that we owe."""
    rows = tx.all("SELECT outgoing, text, status FROM messages WHERE id >= ? AND kind = 'text'", (first,))
    here = tx.number(
        "SELECT count(*) FROM deliveries WHERE (SELECT count(*) FROM deposits WHERE delivery = deliveries.id "
        "AND stored_at IS NOT NULL) < ?",
        (QUORUM,),
    )
    owed = tx.number("SELECT count(*) FROM receipts_due")
    return [(bool(out), text, status) for out, text, status in rows], (here, owed)


def _incoming(tx: Tx) -> set[str]:
    return {text for (text,) in tx.all("SELECT text FROM messages WHERE outgoing = 0 AND kind = 'text'")}
