"""Mailboxes for a node's tests: real relays on loopback, relays that lie, and what a relay sees of who asks."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from covey_core.host import Host, HostConfig, Stream, open_host
from covey_core.identity import Identity
from covey_core.lifecycle import TaskStatus
from covey_core.limits import MAILBOX_HELLO_BYTES, MAILBOX_REQUEST_BYTES, MAILBOX_RESPONSE_BYTES
from covey_core.network import Network, RelayEntry
from covey_core.peers import PeerId
from covey_core.wire import mailbox as m
from covey_core.wire.mailbox_codec import decode_request, encode_hello, encode_response
from covey_node.net.mailbox import At, MailboxClient, Role
from covey_relay.limits import MailboxLimits
from covey_relay.mailbox.case import Case
from covey_relay.mailbox.stores import open_store
from covey_relay.net.known_relays import KnownRelays
from covey_relay.net.mailbox_office import Office
from covey_relay.service import mailboxes
from covey_relay.service.mailboxes import open_mailboxes
from tests.support.people import empty_network

BLOB = bytes(4112)
DAY = 86_400
GENEROUS: dict[str, Any] = {"peer_rate": 1e6, "peer_burst": 1e6}


def mid(number: int) -> bytes:
    """A message id."""
    return number.to_bytes(16, "big")


def key(name: str) -> Identity:
    """The same Ed25519 key for the same name."""
    return Identity(hashlib.sha256(name.encode()).digest())


@dataclass(frozen=True)
class Seen:
    """One command as a relay answered it."""

    peer: PeerId
    command: m.Command
    answer: m.Answer | None
    forwarded: bool


@dataclass
class MailboxRelay:
    """A relay with mailboxes, and everything that it was asked."""

    host: Host
    at: At
    seen: list[Seen] = field(default_factory=list)

    def peers(self, *commands: type) -> set[PeerId]:
        """Who asked such commands, or any."""
        return {one.peer for one in self.seen if not commands or isinstance(one.command, commands)}


@asynccontextmanager
async def mailbox_relay(
    network: Network,
    store: Path,
    *,
    identity: Identity | None = None,
    port: int = 0,
    operator: str = "ann",
    bounds: dict[str, Any] | None = None,
    among: dict[PeerId, tuple[str, ...]] | None = None,
) -> AsyncIterator[MailboxRelay]:
    """A relay on loopback. Started again with its identity, store and port, it is the same one.

    Those that are started with the same `among` forward to each other.
    """
    identity = identity or Identity.generate()
    limits = replace(MailboxLimits(), **(GENEROUS if bounds is None else bounds))
    config = HostConfig(identity, network, (f"/ip4/127.0.0.1/tcp/{port}",), max_connections=1000)
    async with open_host(replace(config, max_connections_per_ip=1000)) as host:
        relay = MailboxRelay(host, At(host.peer_id, host.addrs, operator))
        known = Among({} if among is None else among, network, own=host.peer_id)
        known.shared[host.peer_id] = host.addrs
        async with AsyncExitStack() as stack:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(mailboxes, "Office", _noting(relay))
                make_store = partial(open_store, path=store, bounds=limits)
                await stack.enter_async_context(
                    open_mailboxes(host, identity=identity, make_store=make_store, bounds=limits, relays=known)
                )
            yield relay


class Among(KnownRelays):
    """The relays that a test started, whenever it did."""

    def __init__(self, shared: dict[PeerId, tuple[str, ...]], network: Network, *, own: PeerId) -> None:
        super().__init__(network, own=own)
        self.shared = shared

    def addrs_of(self, peer: PeerId) -> tuple[str, ...]:
        return self.shared.get(peer, ())


def _noting(relay: MailboxRelay) -> type[Office]:
    class Noting(Office):
        def answered(self, case: Case) -> None:
            super().answered(case)
            forwarded = case.seal is not None
            relay.seen.append(Seen(case.asker.peer, case.request.command, case.answer, forwarded))

    return Noting


class Restarting:
    """One relay that can be stopped and started: the same one each time."""

    def __init__(self, nursery: trio.Nursery, store: Path, options: dict[str, Any]) -> None:
        self._nursery = nursery
        self._store = store
        self._options = {"identity": Identity.generate(), **options}
        self._scope = trio.CancelScope()
        self._stopped = trio.Event()

    async def start(self) -> MailboxRelay:
        """Start it; it is served when this returns."""
        relay: MailboxRelay = await self._nursery.start(self._run)
        self._options["port"] = int(relay.host.addrs[0].split("/")[4])
        return relay

    async def stop(self) -> None:
        """End it; its connections are gone when this returns."""
        self._scope.cancel()
        await self._stopped.wait()

    async def _run(self, *, task_status: TaskStatus[MailboxRelay]) -> None:
        self._stopped = trio.Event()
        with trio.CancelScope() as self._scope:
            async with mailbox_relay(store=self._store, **self._options) as relay:
                task_status.started(relay)
                await trio.sleep_forever()
        self._stopped.set()


@asynccontextmanager
async def restarting(store: Path, network: Network, **options: Any) -> AsyncIterator[Restarting]:
    """A relay that a test starts and stops; stopped at the end of the block."""
    async with trio.open_nursery() as nursery:
        yield Restarting(nursery, store, {"network": network, **options})
        nursery.cancel_scope.cancel()


def naming(network: Network, *relays: MailboxRelay) -> Network:
    """The network with these relays in its file."""
    return replace(network, relays=tuple(RelayEntry(one.at.operator, one.host.addrs) for one in relays))


@asynccontextmanager
async def running_client(network: Network, **options: Any) -> AsyncIterator[MailboxClient]:
    """A client that runs for the length of the block, 60 s at most."""
    client = MailboxClient(network, **options)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.run)
            yield client
            nursery.cancel_scope.cancel()


@dataclass
class TestQueue:
    """A queue at one relay that the writer's key writes to."""

    __test__ = False

    client: MailboxClient
    at: At
    owner: Identity
    writer: Identity
    ids: m.Ids

    async def put(self, number: int, *, by: Identity | None = None, blob: bytes = BLOB) -> m.Answer:
        """Deposit message `number`."""
        command = m.Put(self.ids.send_id, mid(number), DAY, blob)
        return await self.client.call(
            self.at, command, role=Role.SEND, seed=(by or self.writer).seed, queue=self.ids.send_id
        )

    async def own(self, command: m.Command) -> m.Answer:
        """Ask something as the owner."""
        return await self.client.call(
            self.at, command, role=Role.RECEIVE, seed=self.owner.seed, queue=self.owner.public_key
        )


async def new_queue(client: MailboxClient, at: At, name: str = "bob", *, writer: str = "alice") -> TestQueue:
    """Make a queue."""
    owner = key(f"{name} at {at.relay}")
    command = m.New(owner.public_key, m.AdmitKey(key(writer).public_key))
    ids = await client.call(at, command, role=Role.RECEIVE, seed=owner.seed, queue=owner.public_key)
    assert isinstance(ids, m.Ids), ids
    return TestQueue(client, at, owner, key(writer), ids)


# --- relays that do not keep to the protocol --------------------------------------------------------------------------

HELLO = m.Hello(bytes(32), 1_790_000_000, b"\x09" + bytes(31), 1_790_086_400, bytes(64))


class Rogue:
    """One stream of a relay of ours that says what a test wants."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream

    async def hello(self) -> None:
        await self.raw(encode_hello(HELLO), limit=MAILBOX_HELLO_BYTES)

    async def request(self) -> m.Request:
        payload = await self.stream.read_frame(limit=MAILBOX_REQUEST_BYTES)
        assert payload is not None
        return decode_request(payload)

    async def answer(self, request_id: int, answer: m.Answer) -> None:
        await self.raw(encode_response(m.Response(request_id, answer)))

    async def raw(self, payload: bytes, *, limit: int = MAILBOX_RESPONSE_BYTES) -> None:
        await self.stream.write_frame(payload, limit=limit)


@asynccontextmanager
async def rogue_relay(
    *streams: Callable[[Rogue], Awaitable[None]], network: Network | None = None
) -> AsyncIterator[tuple[Network, At, Host]]:
    """A relay whose first stream does the first thing, the second the second; the last is done again for all others."""
    network, count = network or empty_network(), 0

    async def serve(stream: Stream) -> None:
        nonlocal count
        count += 1
        await streams[min(count, len(streams)) - 1](Rogue(stream))

    async with open_host(HostConfig(Identity.generate(), network, ("/ip4/127.0.0.1/tcp/0",))) as host:
        host.handle(network.protocol(m.MAILBOX_NAME), serve)
        entry = RelayEntry("mallory", host.addrs)
        yield replace(network, relays=(*network.relays, entry)), At(host.peer_id), host
