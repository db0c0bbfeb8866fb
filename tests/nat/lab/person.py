"""One person of the lab: a whole node in a process of its own, opened and closed again as often as asked.

Owns: the node and what its host told of connections. A node that is opened anew is a node that starts: identity,
database and port are those of the last run; connections, slots and what was learned of the NAT are gone. (The
interpreter and its imports stay, so a start takes a third of a second.) Answers questions on stdin
(benchmarks/answering.py).

Times are trio's clock of this process: differences are exact, and nothing of the driving or the local API is in them.
"""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import trio

from benchmarks.answering import answer_questions
from covey_core.host import Connected, ConnectionInfo
from covey_core.lifecycle import TaskStatus
from covey_core.logs import setup_logging
from covey_core.network import load_network
from covey_node.protocol.status import ContactState, Status
from covey_node.service.node import Node
from covey_node.service.run import NodeOptions, open_node
from covey_node.service.setup import create_account
from covey_node.store.home import SecretFile, open_home

PATIENCE_SECONDS = 60


class Person:
    """Answers the lab's questions."""

    def __init__(self, home: Path, network_file: Path, listen: tuple[str, ...], nursery: trio.Nursery) -> None:
        self._home = home
        self._network_file = network_file
        self._listen = listen
        self._nursery = nursery
        self._node: Node | None = None
        self._stop = trio.Event()
        self._stopped = trio.Event()
        self._other = ""
        self._connected: list[tuple[float, ConnectionInfo]] = []
        self._more = trio.Event()

    async def start(self) -> None:
        """Open the node."""
        self._stop, self._stopped, self._connected = trio.Event(), trio.Event(), []
        await self._nursery.start(self._live)

    async def stop(self) -> None:
        """Close the node."""
        self._stop.set()
        await self._stopped.wait()

    async def _live(self, *, task_status: TaskStatus[None]) -> None:
        options = NodeOptions(
            home=self._home,
            network=load_network(self._network_file),
            listen=self._listen,
            announce=(),
            api_address="unix",
            token_file=self._home / "api.token",
        )
        unlock = SecretFile(self._home.parent / f"{self._home.name}.secret")
        async with (
            open_home(self._home, unlock) as database,
            open_node(database, options) as self._node,
            trio.open_nursery() as nursery,
        ):
            await nursery.start(self._watch)
            task_status.started()
            await self._stop.wait()
            nursery.cancel_scope.cancel()
        self._node = None
        self._stopped.set()

    async def _watch(self, *, task_status: TaskStatus[None]) -> None:
        """Note every connection to the contact's device, with the time at which it stood and was admitted."""
        with self.node._parts.host.subscribe() as events:
            for one in self.node._parts.host.connections():
                if one.admitted and one.peer == self._other:
                    self._connected.append((trio.current_time(), one))
            task_status.started()
            async for event in events:
                if isinstance(event, Connected) and event.peer == self._other:
                    self._connected.append((trio.current_time(), event.connection))
                    self._more.set()
                    self._more = trio.Event()

    @property
    def node(self) -> Node:
        """The open node."""
        assert self._node is not None, "the node is closed"
        return self._node

    async def peer(self) -> str:
        """Return our PeerId."""
        return self.node._parts.host.peer_id

    async def know(self, peer: str) -> None:
        """Hear the contact's PeerId: others connect too, such as servers that check whether we are reachable."""
        self._other = peer

    async def invite(self) -> str | None:
        """Return an invite's link."""
        return (await self.node.invite(label="lab", valid_seconds=3600, one_use=True)).link

    async def add(self, link: str) -> None:
        """Use a link."""
        await self.node.add(link, alias=None, intro="")

    async def befriended(self) -> None:
        """Wait until the one contact is accepted."""
        with trio.fail_after(PATIENCE_SECONDS):
            async with self.node.events(after=None) as events:
                while not any(one.state is ContactState.ACCEPTED for one in await self.node.contacts()):
                    await anext(events)

    async def reserved(self, count: int) -> None:
        """Wait for slots at so many relays."""
        with trio.fail_after(PATIENCE_SECONDS):
            while sum(bool(relay.reserved_until) for relay in (await self.node.status()).relays) < count:
                await self.node._parts.relays.wait_change()

    async def send(self, text: str) -> float:
        """Send to the one contact; return the seconds until it was delivered."""
        (contact,) = await self.node.contacts()
        begun = time.monotonic()
        async with self.node.events(after=None) as events:
            view = await self.node.send(contact.alias, text, reply_to=None, disappear_seconds=None)
            with trio.fail_after(PATIENCE_SECONDS):
                async for event in events:
                    ours = event.kind == "message" and event.data["id"] == view.id
                    if ours and event.data["status"] in {Status.DELIVERED, Status.READ}:
                        return time.monotonic() - begun
        raise AssertionError("the events ended")

    async def direct(self, seconds: float) -> dict[str, Any]:
        """Wait for a direct connection to the contact; tell how long after the first relayed one it stood.

        `seconds` of the answer is None when there was none in time, 0 when it stood before any relayed one.
        """
        with trio.move_on_after(seconds):
            while all(one.relayed for _, one in self._connected):
                await self._more.wait()
        (contact,) = await self.node.contacts()
        found: dict[str, Any] = {"seconds": None, "transport": None, "path": contact.path.value}
        for at, one in self._connected:
            if not one.relayed:
                relayed = min((at for at, one in self._connected if one.relayed), default=at)
                return found | {"seconds": max(0.0, at - relayed), "transport": one.transport}
        return found


async def main(home: Path, network_file: Path, listen: tuple[str, ...]) -> None:
    """Make the account, then answer until stdin ends."""
    create_account(home, name=home.name, network=None, unlock=SecretFile(home.parent / f"{home.name}.secret"))
    async with trio.open_nursery() as nursery:
        person = Person(home, network_file, listen, nursery)
        await answer_questions({
            "start": person.start, "stop": person.stop, "peer": person.peer, "know": person.know,
            "invite": person.invite, "add": person.add, "befriended": person.befriended,
            "reserved": person.reserved, "send": person.send, "direct": person.direct,
        })  # fmt: skip
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    setup_logging(level="debug" if "--debug" in sys.argv else "warning", json=True)  # stdout is for answers
    words = [word for word in sys.argv[1:] if word != "--debug"]
    trio.run(partial(main, Path(words[0]), Path(words[1]), tuple(words[2:])))
