"""One person of the mailbox benchmark: a whole node with mailboxes in a process of its own.

Owns: the node, when it was opened and when texts became visible (CLOCK_MONOTONIC, one clock for all processes of a
machine). The database is durable as ever. Never touches: which relays there are.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import trio

from benchmarks.answering import answer_questions
from benchmarks.person import PATIENCE_SECONDS, Person, text
from covey_core.logs import setup_logging
from covey_core.network import load_network
from covey_node.service.node import Node
from covey_node.service.run import NodeOptions, open_node
from covey_node.service.setup import create_account
from covey_node.store.home import SecretFile, exists, open_home
from covey_node.store.tx import Tx
from tests.node.service.collect_world import all_confirmed

LOOK_SECONDS = 0.2
WRITERS = 8


class Correspondent(Person):
    """Answers the benchmark's questions."""

    def __init__(self, node: Node, home: Path, nursery: trio.Nursery, opened: tuple[float, float]) -> None:
        super().__init__(node, home, nursery)
        self._opened, self._used = opened

    async def told(self, relays: int) -> bool:
        """Wait until the contact knows our mailboxes at so many relays."""
        return await self._until(all_confirmed(relays))

    async def lay_down(self, contact: str, first: int, count: int, copies: int) -> float:
        """Write texts and wait until so many mailboxes have each; return the seconds that took."""
        numbers = iter(range(first, first + count))

        async def write() -> None:
            for number in numbers:
                await self.write_one(contact, number)

        begun = time.monotonic()
        async with trio.open_nursery() as nursery:
            for _ in range(WRITERS):
                nursery.start_soon(write)
        await self._until(partial(_at_all, copies))
        return time.monotonic() - begun

    async def write_one(self, contact: str, number: int) -> float:
        """Queue one text; return when that was asked for."""
        begun = time.monotonic()
        await self._node.send(contact, text(number), reply_to=None, disappear_seconds=None)
        return begun

    async def collected(self, count: int) -> dict[str, float]:
        """Wait for so many texts; return when the node was opened, when the first and the last were visible, and `cpu`.

        `cpu`: the processor time that this process used for it, seconds.
        """
        await self.sees(count)
        cpu = time.process_time() - self._used
        times = [when for _, when in self._seen[:count]]
        return {"opened": self._opened, "first": min(times), "last": max(times), "cpu": cpu}

    async def sees(self, count: int) -> float:
        """Wait for so many texts since the last `forget`; return when the last of them was visible."""
        with trio.fail_after(PATIENCE_SECONDS):
            while len(self._seen) < count:
                await self._more.wait()
        return self._seen[count - 1][1]

    async def answered(self) -> bool:
        """Wait until all receipts that we owe lie at mailboxes."""
        return await self._until(_all_answered)

    async def _until(self, holds: Callable[[Tx], bool]) -> bool:
        with trio.fail_after(PATIENCE_SECONDS):
            while not await self._node._ledger.read(holds):  # noqa: ASYNC110 - not all of it makes an event
                await trio.sleep(LOOK_SECONDS)
        return True


def _at_all(copies: int, tx: Tx) -> bool:
    return not tx.number(
        "SELECT count(*) FROM deliveries WHERE (SELECT count(*) FROM deposits WHERE delivery = deliveries.id "
        "AND stored_at IS NOT NULL) < ?",
        (copies,),
    )


def _all_answered(tx: Tx) -> bool:
    return not tx.number("SELECT (SELECT count(*) FROM receipts_due) + (SELECT count(*) FROM deliveries)")


async def main(home: Path, network_file: Path, *, listens: bool) -> None:
    unlock = SecretFile(home.parent / f"{home.name}.secret")
    if not exists(home):
        create_account(home, name=home.name, network=None, unlock=unlock)
    options = NodeOptions(
        home=home,
        network=load_network(network_file),
        listen=("/ip4/127.0.0.1/tcp/0",) if listens else (),
        announce=(),
        api_address="unix",
        token_file=home / "api.token",
        mailboxes=True,
    )
    opened = time.monotonic(), time.process_time()
    async with (
        open_home(home, unlock) as database,
        open_node(database, options) as node,
        trio.open_nursery() as nursery,
    ):
        me = Correspondent(node, home, nursery, opened)
        await nursery.start(me.watch)
        await answer_questions({
            "invite": me.invite, "add": me.add, "befriended": me.befriended, "told": me.told, "lay_down": me.lay_down,
            "write_one": me.write_one, "collected": me.collected, "sees": me.sees, "forget": me.forget,
            "kept": me.kept, "path": me.path, "answered": me.answered,
        })  # fmt: skip
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    setup_logging(level="warning", json=True)  # standard output is for answers
    trio.run(partial(main, Path(sys.argv[1]), Path(sys.argv[2]), listens=sys.argv[3] == "listen"))
