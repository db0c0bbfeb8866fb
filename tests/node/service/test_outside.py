"""A whole node among relays that serve AutoNAT: what it finds out, announces, and does for others."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import trio
import trio.testing
from prometheus_client import CollectorRegistry

from covey_core.autonat import serve_autonat
from covey_core.errors import StreamLost
from covey_core.host import Host, HostConfig, open_host
from covey_core.identity import Identity
from covey_core.metrics import CoreMetrics
from covey_core.network import Network, RelayEntry, new_network
from covey_core.wire.circuit import HOP_PROTOCOL
from covey_node import limits
from covey_node.service.composing import own_addrs
from covey_node.service.node import Node
from covey_node.service.run import NodeOptions, open_node
from covey_node.service.setup import create_account
from covey_node.store.home import SecretFile, open_home
from covey_relay.service import open_relay_service
from tests.support.circuit_client import until

PATIENCE_SECONDS = 30


@asynccontextmanager
async def relays(*ips: str) -> AsyncIterator[tuple[Network, list[Host]]]:
    """A private network on loopback with a relay at each of these addresses."""
    network = new_network("loopback", private=True, subnets=("127.0.0.0/8",))
    async with AsyncExitStack() as stack:
        hosts = []
        for ip in ips:
            identity = Identity.generate()
            config = HostConfig(identity, network, (f"/ip4/{ip}/tcp/0",), keeps_both=True)
            host = await stack.enter_async_context(open_host(config))
            await stack.enter_async_context(open_relay_service(host, identity=identity))
            await stack.enter_async_context(serve_autonat(host))
            hosts.append(host)
        entries = tuple(RelayEntry(ip, host.addrs) for ip, host in zip(ips, hosts, strict=True))
        yield replace(network, relays=entries), hosts


@asynccontextmanager
async def node_of(home: Path, network: Network, *, helps: bool, registry: CollectorRegistry) -> AsyncIterator[Node]:
    unlock = SecretFile(home.parent / f"{home.name}.secret")
    create_account(home, name=home.name, network=None, unlock=unlock)
    options = NodeOptions(
        home=home,
        network=network,
        listen=("/ip4/127.0.0.1/tcp/0",),
        announce=(),
        api_address="unix",
        token_file=home / "api.token",
        helps=helps,
    )
    metrics = CoreMetrics(registry, role="node", version="0")
    async with open_home(home, unlock) as database, open_node(database, options, metrics=metrics) as node:
        yield node


async def comes(condition: Callable[[], bool]) -> None:
    with trio.fail_after(PATIENCE_SECONDS):
        await until(condition)


async def serves_circuits(relay: Host, node: Node) -> bool:
    """Whether the node serves hop to a relay that it is connected to."""
    try:
        stream = await relay.open_stream(node._parts.host.peer_id, HOP_PROTOCOL)
    except StreamLost:
        return False
    await stream.reset()
    return True


async def test_a_reachable_node_knows_it_announces_it_and_helps(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "HELP_START_SECONDS", 0.1)
    monkeypatch.setattr(limits, "HELP_LOOK_SECONDS", 0.1)
    registry = CollectorRegistry()

    def sample(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    async with (
        relays("127.0.0.2", "127.0.0.3") as (network, hosts),
        node_of(tmp_path / "alice", network, helps=True, registry=registry) as node,
    ):
        await comes(lambda: sample("libp2p_autonatv2_client_requests_total", outcome="reachable") == 2)
        await comes(lambda: sample("libp2p_host_addrs_reachable", ipv="ip4", transport="tcp") == 1)
        seen = await node.doctor(None)
        assert seen.nat.kind == "none"
        assert [(one.reachable, one.transport) for one in seen.addresses] == [(True, "tcp")]
        (address,) = node._parts.host.addrs
        with trio.fail_after(PATIENCE_SECONDS):
            while address not in await node._ledger.read(own_addrs):
                await trio.testing.wait_all_tasks_blocked(0.05)
            while not await serves_circuits(hosts[0], node):
                await trio.testing.wait_all_tasks_blocked(0.05)


async def test_a_node_that_is_told_not_to_does_not_help(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "HELP_START_SECONDS", 0.0)
    monkeypatch.setattr(limits, "HELP_LOOK_SECONDS", 0.01)
    registry = CollectorRegistry()
    async with (
        relays("127.0.0.2", "127.0.0.3") as (network, hosts),
        node_of(tmp_path / "alice", network, helps=False, registry=registry) as node,
    ):
        await comes(
            lambda: registry.get_sample_value("libp2p_host_addrs_reachable", {"ipv": "ip4", "transport": "tcp"}) == 1
        )
        await trio.testing.wait_all_tasks_blocked(0.1)
        assert not await serves_circuits(hosts[0], node)
