"""Kills who writes to somebody away at one commit point after the other, and looks whether anything was lost.

usage: python -m tests.support.deposit_crashes DIRECTORY

Alice and bob have met at three relays. In run n, which begins with copies of what was there then, bob is away; alice
writes, dies by `os._exit` at her n-th commit point, before or after the COMMIT, is started again and sees all of it
stored. Then she goes and bob comes: he has everything once. Run n + 1 kills her one point later, until a run ends
without a death. Each part is a process of its own (forked). Prints one JSON object.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import trio

from covey_core.identity import Identity
from covey_core.network import Network, RelayEntry
from covey_core.peers import PeerId
from covey_node.service.node import Node
from tests.node.service.collect_world import all_confirmed
from tests.node.service.collect_world import until as holds
from tests.support.crashes import DIED, LOG_CHARS, RUN_SECONDS, append, deadly, fork, free_port, lines, wait
from tests.support.mailbox_relays import mailbox_relay
from tests.support.people import acquaint, empty_network, running_node, say, texts, until

RELAYS = ("ann", "ben", "cat")
TEXTS = 2


def main() -> None:
    folder = Path(sys.argv[1])
    scene = Scene(empty_network())
    before = folder / "before"
    before.mkdir(parents=True)
    problem = scene.part(before, "meet", partial(meet, scene, before))
    failures, point = [problem] if problem else [], 0
    while not failures:
        point += 1
        home = folder / f"run{point}"
        shutil.copytree(before, home)
        died, problem = run_once(scene, home, point)
        if problem is not None:
            failures.append(f"point {point}: {problem}")
        shutil.rmtree(home)
        if not died:
            break
    sys.stdout.write(json.dumps({"points": point - 1, "failures": failures}) + "\n")


def run_once(scene: Scene, home: Path, point: int) -> tuple[bool, str | None]:
    """One run; whether alice died in it, and what was wrong afterwards."""
    pid = fork(lambda: trio.run(partial(write, scene, home, point)), home / "log")
    code = wait(pid)
    died = code == DIED
    if died:
        code = wait(fork(lambda: trio.run(partial(write, scene, home, 0)), home / "log"))
    problem = None if code == 0 else f"alice did not finish (died: {died}), exit {code}:\n{log_of(home)}"
    return died, problem or scene.part(home, "bob", partial(read, scene, home))


class Scene:
    """What all runs have in common: the network and its relays, on the same ports each time."""

    def __init__(self, network: Network) -> None:
        self.bare = network
        self.relays = {name: (Identity.generate(), free_port()) for name in RELAYS}
        self.network = replace(
            network,
            relays=tuple(
                RelayEntry(name, (f"/ip4/127.0.0.1/tcp/{port}/p2p/{identity.peer_id}",))
                for name, (identity, port) in self.relays.items()
            ),
        )

    async def serve(self, stack: AsyncExitStack, home: Path) -> None:
        """Run the relays over the stores in a folder, for as long as the stack lasts."""
        among: dict[PeerId, tuple[str, ...]] = {}
        for name, (identity, port) in self.relays.items():
            await stack.enter_async_context(
                mailbox_relay(self.bare, home / f"{name}.db", identity=identity, port=port, operator=name, among=among)
            )

    def part(self, home: Path, name: str, function: Callable[[], Awaitable[None]]) -> str | None:
        """Run one part in a process of its own; return what was wrong."""
        code = wait(fork(lambda: trio.run(function), home / "log"))
        return None if code == 0 else f"{name} did not finish, exit {code}:\n{log_of(home)}"


async def meet(scene: Scene, home: Path) -> None:
    """Alice and bob become contacts and tell each other their mailboxes."""
    with trio.fail_after(RUN_SECONDS):
        async with AsyncExitStack() as stack:
            await scene.serve(stack, home)
            alice = await stack.enter_async_context(running_node(home / "alice", scene.network, mailboxes=True))
            bob = await stack.enter_async_context(running_node(home / "bob", scene.network, mailboxes=True))
            await acquaint(alice, bob)
            await holds(alice, all_confirmed(len(RELAYS)))
            await holds(bob, all_confirmed(len(RELAYS)))


async def write(scene: Scene, home: Path, deadly_point: int) -> None:
    """Alice's part: two texts, until all mailboxes have both; each may have been done in a life before."""
    said = home / "said"
    with trio.fail_after(RUN_SECONDS):
        async with AsyncExitStack() as stack:
            await scene.serve(stack, home)
            alice = await stack.enter_async_context(
                running_node(home / "alice", scene.network, mailboxes=True, on_commit=deadly(deadly_point))
            )
            for number in range(len(lines(said)), TEXTS):
                text = f"text {number} {os.urandom(4).hex()}"
                append(said, f"{await say(alice, 'bob', text)} {text}")
            await until(alice, lambda: all_stored(alice))


async def all_stored(alice: Node) -> bool:
    page = await alice.history("bob", limit=100, before=None)
    copies = [view.copies for view in page if view.outgoing]
    return all(one is not None and one.stored == one.of == len(RELAYS) for one in copies)


async def read(scene: Scene, home: Path) -> None:
    """Bob's part: all that alice was told is queued is there, once."""
    with trio.fail_after(RUN_SECONDS):
        async with AsyncExitStack() as stack:
            await scene.serve(stack, home)
            bob = await stack.enter_async_context(running_node(home / "bob", scene.network, mailboxes=True))
            said = [line.split(" ", 1)[1] for line in lines(home / "said")]
            await until(bob, lambda: has_all(bob, said))
            got = await texts(bob, "alice")
            assert len(got) == len(set(got)), f"shown twice: {got}"


async def has_all(bob: Node, said: Iterable[str]) -> bool:
    return set(said) <= set(filter(None, await texts(bob, "alice")))


def log_of(home: Path) -> str:
    return (home / "log").read_text()[-LOG_CHARS:]


if __name__ == "__main__":
    main()
