"""One person of the delivery benchmark: a node in a process of its own, driven through its port.

Owns: the node, what it saw and when (CLOCK_MONOTONIC, one clock for all processes of a machine).
The database is durable as ever, the sockets are real. Never touches: HTTP, unless it is asked to serve the API.
"""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path

import trio

from benchmarks.answering import answer_questions
from covey_core.lifecycle import TaskStatus
from covey_core.logs import setup_logging
from covey_core.network import load_network
from covey_node.api.server import serve_api
from covey_node.protocol.status import ContactState, Status
from covey_node.service.node import Node
from covey_node.service.run import NodeOptions, open_node
from covey_node.service.setup import create_account
from covey_node.store.home import SecretFile, open_home

TEXT_BYTES = 256
PATIENCE_SECONDS = 300
_THERE = {Status.DELIVERED, Status.READ}


class Person:
    """Answers the benchmark's questions."""

    def __init__(self, node: Node, home: Path, nursery: trio.Nursery) -> None:
        self._node = node
        self._home = home
        self._nursery = nursery
        self._delivered: dict[str, float] = {}
        self._seen: list[tuple[str, float]] = []
        self._more = trio.Event()

    async def watch(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Note when messages become delivered here and visible there."""
        async with self._node.events(after=None) as events:
            task_status.started(None)
            async for event in events:
                now = time.monotonic()
                data = event.data
                if event.kind == "message":
                    if not data["outgoing"]:
                        self._seen.append((str(data["text"])[:16], now))
                    elif data["status"] in _THERE:
                        self._delivered.setdefault(str(data["id"]), now)
                self._more.set()
                self._more = trio.Event()
        raise AssertionError("the events ended: this watcher was too slow")

    async def invite(self) -> str | None:
        return (await self._node.invite(label="bench", valid_seconds=3600, one_use=True)).link

    async def add(self, link: str) -> None:
        await self._node.add(link, alias=None, intro="")

    async def befriended(self) -> str:
        """Wait for the first accepted contact; return its alias."""
        with trio.fail_after(PATIENCE_SECONDS):
            while True:
                more = self._more
                for contact in await self._node.contacts():
                    if contact.state is ContactState.ACCEPTED:
                        return contact.alias
                await more.wait()

    async def reserved(self) -> bool:
        """Wait for a place at a relay."""
        with trio.fail_after(PATIENCE_SECONDS):
            while not any(relay.reserved_until for relay in (await self._node.status()).relays):  # noqa: ASYNC110
                await trio.sleep(0.05)  # a relay's answer is no event of the node's
        return True

    async def path(self) -> str:
        return str((await self._node.contacts())[0].path)

    async def forget(self) -> None:
        self._delivered.clear()
        self._seen.clear()

    async def one_by_one(self, contact: str, first: int, count: int) -> list[list[float]]:
        """Send texts, each after the last was delivered; return [send called, send returned, delivered] of each."""
        times = []
        for number in range(first, first + count):
            begun = time.monotonic()
            view = await self._node.send(contact, text(number), reply_to=None, disappear_seconds=None)
            returned = time.monotonic()
            with trio.fail_after(PATIENCE_SECONDS):
                while view.id not in self._delivered:
                    await self._more.wait()
            times.append([begun, returned, self._delivered[view.id]])
        return times

    async def flood(self, contact: str, first: int, count: int, writers: int, in_flight: int) -> dict[str, float]:
        """Send texts as fast as `in_flight` undelivered ones allow; return when it began and ended."""
        numbers = iter(range(first, first + count))
        room = trio.Semaphore(in_flight)
        done = len(self._delivered) + count
        begun = time.monotonic()

        async def write() -> None:
            for number in numbers:
                await room.acquire()
                await self._node.send(contact, text(number), reply_to=None, disappear_seconds=None)

        async def make_room() -> None:
            counted = len(self._delivered)
            while counted < done:
                while len(self._delivered) == counted:
                    await self._more.wait()
                for _ in range(len(self._delivered) - counted):
                    room.release()
                counted = len(self._delivered)

        with trio.fail_after(PATIENCE_SECONDS):
            async with trio.open_nursery() as nursery:
                for _ in range(writers):
                    nursery.start_soon(write)
                nursery.start_soon(make_room)
        return {"begun": begun, "ended": max(self._delivered.values())}

    async def seen(self) -> list[tuple[str, float]]:
        return self._seen

    async def delivered(self) -> int:
        return len(self._delivered)

    async def kept(self) -> list[str]:
        """Return the beginnings of all texts that came in and are in the database, oldest first."""
        contact = (await self._node.contacts())[0].alias
        pages: list[str] = []
        before = None
        while page := await self._node.history(contact, limit=500, before=before):
            pages[:0] = [str(view.text)[:16] for view in page if not view.outgoing and view.kind == "text"]
            before = page[0].id
        return pages

    async def serve(self) -> dict[str, str]:
        """Serve the local API over TCP; return its address and its token."""
        token_file = self._home / "api.token"
        serve = partial(serve_api, self._node, address="127.0.0.1:0", token_file=token_file, home=self._home)
        address = await self._nursery.start(partial(serve, shutdown=trio.Event()))
        return {"address": address.removeprefix("http://"), "token": token_file.read_text().strip()}


def text(number: int) -> str:
    """Return the text of 256 bytes with that number in its first 16."""
    return f"{number:016d}".ljust(TEXT_BYTES, "x")


async def main(home: Path, network_file: Path, *, listens: bool) -> None:
    unlock = SecretFile(home.parent / f"{home.name}.secret")
    create_account(home, name=home.name, network=None, unlock=unlock)
    options = NodeOptions(
        home=home,
        network=load_network(network_file),
        listen=("/ip4/127.0.0.1/tcp/0",) if listens else (),
        announce=(),
        api_address="unix",
        token_file=home / "api.token",
    )
    async with (
        open_home(home, unlock) as database,
        open_node(database, options) as node,
        trio.open_nursery() as nursery,
    ):
        person = Person(node, home, nursery)
        await nursery.start(person.watch)
        await answer_questions({
            "invite": person.invite, "add": person.add, "befriended": person.befriended, "reserved": person.reserved,
            "path": person.path, "forget": person.forget, "one_by_one": person.one_by_one, "flood": person.flood,
            "seen": person.seen, "delivered": person.delivered, "kept": person.kept, "serve": person.serve,
        })  # fmt: skip
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    setup_logging(level="warning", json=True)  # standard output is for answers
    trio.run(partial(main, Path(sys.argv[1]), Path(sys.argv[2]), listens=sys.argv[3] == "listen"))
