"""A small network in one process: a seed that relays too, and nodes with real sockets and real databases."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import trio

from covey_core.host import Host, HostConfig, open_host
from covey_core.host.dht import open_dht
from covey_core.identity import Identity
from covey_core.metrics import CoreMetrics
from covey_core.network import Network, RelayEntry, new_network
from covey_core.records import ContactRecordValidator
from covey_node.net.mailbox import Isolation
from covey_node.protocol.status import ContactState, Status
from covey_node.service.node import Node
from covey_node.service.port import ContactView, EventView, MessageView
from covey_node.service.run import NodeOptions, open_node
from covey_node.service.setup import create_account
from covey_node.store.home import SecretFile, exists, open_home
from covey_relay.service import RelayService, open_relay_service

LOOPBACK = ("127.0.0.0/8",)
PATIENCE_SECONDS = 30


def empty_network() -> Network:
    """A private network on loopback without any server."""
    return new_network("test", private=True, subnets=LOOPBACK)


@asynccontextmanager
async def running_relay(
    network: Network | None = None, *, identity: Identity | None = None, port: int = 0, ip: str = "ip4/127.0.0.1"
) -> AsyncIterator[tuple[Network, RelayService, Host]]:
    """A relay that is the network's DHT server too; yields the network that names it."""
    network = network or empty_network()
    identity = identity or Identity.generate()
    config = HostConfig(identity, network, (f"/{ip}/tcp/{port}",))
    async with (
        open_host(config) as host,
        open_relay_service(host, identity=identity) as service,
        open_dht(host, server=True, validators={"c": ContactRecordValidator()}),
    ):
        yield replace(network, relays=(*network.relays, RelayEntry("test", host.addrs))), service, host


@asynccontextmanager
async def running_node(
    home: Path,
    network: Network,
    *,
    listens: bool = True,
    port: int = 0,
    ip: str = "ip4/127.0.0.1",
    transport: str = "tcp/{port}",
    on_commit: Callable[[object], None] | None = None,
    now: Callable[[], float] | None = None,
    metrics: CoreMetrics | None = None,
    announce: tuple[str, ...] = (),
    mailboxes: bool = False,
    isolation: Isolation = "relay",
) -> AsyncIterator[Node]:
    """A node; its account is made at the first start. `listens=False` leaves it to circuits, as behind a NAT.

    `announce` an address where nobody is, and only a hole punch finds the ports that it listens on.
    """
    unlock = SecretFile(home.parent / f"{home.name}.secret")
    if not exists(home):
        create_account(home, name=home.name, network=None, unlock=unlock)
    options = NodeOptions(
        home=home,
        network=network,
        listen=(f"/{ip}/{transport.format(port=port)}",) if listens else (),
        announce=announce,
        api_address="unix",
        token_file=home / "api.token",
        mailboxes=mailboxes,
        isolation=isolation,
    )
    more = {"metrics": metrics} if now is None else {"metrics": metrics, "now": now}
    async with open_home(home, unlock, on_commit=on_commit) as database, open_node(database, options, **more) as node:
        yield node


async def until(node: Node, done: Callable[[], Awaitable[bool]]) -> None:
    """Wait until `done` holds, looking again at every event of the node."""
    with trio.fail_after(PATIENCE_SECONDS):
        async with node.events(after=None) as events:
            while not await done():
                await anext(events)


async def acquaint(alice: Node, bob: Node) -> None:
    """Bob uses alice's one-use invite; returns when both see each other as contacts `alice` and `bob`."""
    invite = await alice.invite(label="bob", valid_seconds=3600, one_use=True)
    assert invite.link is not None
    await bob.add(invite.link, alias="alice", intro="")
    await until(bob, lambda: in_state(bob, "alice", ContactState.ACCEPTED))
    await until(alice, lambda: in_state(alice, "bob", ContactState.ACCEPTED))


async def in_state(node: Node, alias: str, state: ContactState) -> bool:
    """Whether a contact of that name exists in that state."""
    return any(view.alias == alias and view.state is state for view in await node.contacts())


async def people(node: Node) -> dict[str, ContactView]:
    """The contacts by alias."""
    return {view.alias: view for view in await node.contacts()}


async def say(node: Node, contact: str, text: str) -> str:
    """Queue a text; returns its id."""
    return (await node.send(contact, text, reply_to=None, disappear_seconds=None)).id


async def reaches(node: Node, message: str, status: Status) -> MessageView:
    """Wait until a message has a status; returns it."""

    async def there() -> bool:
        return (await node.message(message)).status is status

    await until(node, there)
    return await node.message(message)


async def texts(node: Node, contact: str) -> list[str | None]:
    """The texts of the history with a contact, notices left out."""
    history = await node.history(contact, limit=500, before=None)
    return [view.text for view in history if view.kind == "text"]


async def next_event(events: AsyncIterator[EventView], kind: str) -> EventView:
    """The next event of a kind."""
    async for event in events:
        if event.kind == kind:
            return event
    raise AssertionError("the events ended")
