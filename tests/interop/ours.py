"""Our own side as a process of the interop tests, with the commands of the foreign peers: JSON lines in and out.

    python -m tests.interop.ours relay|node [LISTEN...]

It runs in network namespaces, where the test itself is not. tests/interop/go/main.go lists the commands. A relay also
answers AutoNAT v2; a node has the relay client and the puncher that the production node has.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import trio

from covey_core.autonat import AutonatClient, serve_autonat
from covey_core.errors import CoveyError
from covey_core.host import ConnectionInfo, Host, HostConfig, Stream, open_host
from covey_core.identity import Identity
from covey_core.logs import setup_logging
from covey_core.network import RelayEntry, new_network
from covey_core.peers import PeerId
from covey_core.wire.direct_addr import DirectAddr
from covey_node.net.puncher import Puncher, own_addrs
from covey_node.net.relays import RelayClient
from covey_node.protocol.punch_log import PunchOutcome
from covey_relay.service import open_relay_service

ECHO = "/covey-test/echo/1"
PATIENCE_SECONDS = 60
ECHO_PART_BYTES = 65_536


def say(event: str, **fields: Any) -> None:
    """Tell the test what happened."""
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


class Peer:
    """One host and what it was told to do."""

    def __init__(self, host: Host, tasks: trio.Nursery) -> None:
        self.host = host
        self.tasks = tasks
        self.reachability = AutonatClient(host)
        self.relays: RelayClient | None = None
        host.handle(ECHO, self._serve_echo)

    async def reserve(self, relay: str, **_: Any) -> None:
        """Hold a slot at a relay from now on."""
        client = await self._at(relay)
        say("reserved", addr=client.circuit_addrs()[0], voucher=True)

    async def dial(self, addr: str, bytes: int, **_: Any) -> None:  # noqa: A002 - the command's word
        """Open a circuit or a connection, and echo over it."""
        way, circuit, rest = addr.partition("/p2p-circuit")
        peer = PeerId((rest or way).rpartition("/p2p/")[2])
        if circuit:
            await (await self._at(way)).dial(PeerId(way.rpartition("/p2p/")[2]), (way,), peer)
        else:
            await self.host.connect(peer, (addr,))
        await self.echo(peer, bytes)

    async def _at(self, relay: str) -> RelayClient:
        """The relay client of a production node, once it holds a slot; what is observed there is what punches offer."""
        if self.relays is None:
            self.relays = client = RelayClient(self.host, (RelayEntry("relay", (relay,)),), lambda: None)
            puncher = Puncher(self.host, partial(own_addrs, self.host, observers=client.relays.keys()), tell_punch)
            self.tasks.start_soon(puncher.run)
            self.tasks.start_soon(client.run)
        while not self.relays.held():
            await self.relays.wait_change()
        return self.relays

    async def echo(self, peer: str, bytes: int, **_: Any) -> None:  # noqa: A002 - the command's word
        """Send bytes and take them back over the best connection."""
        stream = await self.host.open_stream(PeerId(peer), ECHO)
        sent = (b"covey" * (bytes // 5 + 1))[:bytes]
        received = bytearray()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send, stream, sent)
            while part := await stream.read_some(ECHO_PART_BYTES):
                received += part
        await stream.close()
        say("echoed", bytes=len(received), same=bytes_equal(received, sent), direct=not stream.relayed,
            addr=stream.remote_addr)  # fmt: skip

    async def await_punching(self, **_: Any) -> None:
        """Nothing to wait for: holes are punched from the first slot on."""
        say("punches")

    async def wait_direct(self, peer: str, **_: Any) -> None:
        """Wait until a direct connection to the peer stands."""
        with self.host.subscribe() as events:
            while (found := self._direct(PeerId(peer))) is None:
                await events.receive()
        say("direct", addr=found.remote_addr, punched=found.punched)

    async def reach(self, server: str, addr: str, **_: Any) -> None:
        """Ask an AutoNAT v2 server about an address of ours."""
        peer = PeerId(server.rpartition("/p2p/")[2])
        await self.host.connect(peer, (server,))
        target = DirectAddr.parse(addr)
        assert target is not None
        answer = await self.reachability.ask(peer, target)
        say("reached", reachability=answer.verdict.value, reason=answer.reason)

    def _direct(self, peer: PeerId) -> ConnectionInfo | None:
        standing = (one for one in self.host.connections(peer) if one.admitted and not one.relayed)
        return next(standing, None)

    async def _send(self, stream: Stream, data: bytes) -> None:
        for at in range(0, len(data), ECHO_PART_BYTES):
            await stream.write(data[at : at + ECHO_PART_BYTES])
        await stream.close_write()

    async def _serve_echo(self, stream: Stream) -> None:
        say("called", direct=not stream.relayed, addr=stream.remote_addr)
        while part := await stream.read_some(ECHO_PART_BYTES):
            await stream.write(part)


def tell_punch(outcome: PunchOutcome) -> None:
    """Tell how a punch ended."""
    say("punched", outcome=outcome.outcome, side=outcome.side, attempts=outcome.attempts, reason=outcome.reason)


def bytes_equal(one: bytes | bytearray, other: bytes) -> bool:
    """Whether both hold the same bytes."""
    return bytes(one) == other


@asynccontextmanager
async def running(role: str, listen: tuple[str, ...]) -> AsyncIterator[Peer]:
    """Our host in that role on a public network without a key."""
    identity, network = Identity.generate(), new_network("public", private=False)
    async with AsyncExitStack() as stack:
        config = HostConfig(identity, network, listen, keeps_both=role == "relay")
        host = await stack.enter_async_context(open_host(config))
        tasks = await stack.enter_async_context(trio.open_nursery())
        if role == "relay":
            await stack.enter_async_context(open_relay_service(host, identity=identity))
            serving = serve_autonat(host, on_served=lambda served: say("served", outcome=served.value))
            await stack.enter_async_context(serving)
        yield Peer(host, tasks)
        tasks.cancel_scope.cancel()


async def obey(peer: Peer, order: dict[str, Any]) -> None:
    """Do one command; say what went wrong."""
    try:
        with trio.fail_after(PATIENCE_SECONDS):
            await getattr(peer, order.pop("do"))(**order)
    except (CoveyError, trio.TooSlowError) as exc:
        say("failed", error=f"{type(exc).__name__}: {exc}")


async def main(role: str, *listen: str) -> None:
    """Run until told to stop, or until standard input ends."""
    setup_logging(level="warning", json=False)  # to standard error
    lines: Callable[[], str] = sys.stdin.readline
    async with running(role, listen) as peer, trio.open_nursery() as nursery:
        say("ready", peer=peer.host.peer_id, addrs=list(peer.host.addrs))
        while line := await trio.to_thread.run_sync(lines, abandon_on_cancel=True):
            order = json.loads(line)
            if order["do"] == "stop":
                break
            nursery.start_soon(obey, peer, order)
        nursery.cancel_scope.cancel()
    say("stopped")


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])
