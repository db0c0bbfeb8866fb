"""A whole seed: in this process over loopback, and as the command an operator runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from covey_bootstrap.remembered import RememberedPeers
from covey_bootstrap.service import network_link, run_seed
from covey_bootstrap.settings import BootstrapSettings
from covey_core.errors import CoveyError, SettingsInvalid
from covey_core.host import Connected, Host
from covey_core.host.dht import Dht, open_dht
from covey_core.host.rendezvous import register, relay_namespace
from covey_core.identity import Identity, load_or_create_identity
from covey_core.lifecycle import Lifecycle
from covey_core.network import Network, load_network, peer_in
from covey_core.peers import PeerId
from covey_core.records import ContactRecordValidator
from covey_core.settings import load_settings
from covey_core.wire.circuit import HOP_PROTOCOL
from tests.host_dht.loopback import be_patient, dialer, server, until
from tests.host_dht.test_rendezvous import _nothing

VALIDATORS = {"c": ContactRecordValidator()}
LOOPBACK = {
    "COVEY_BOOTSTRAP_LISTEN": "/ip4/127.0.0.1/tcp/0,/ip4/127.0.0.1/tcp/0/ws",
    "COVEY_BOOTSTRAP_NETWORK_SUBNETS": "127.0.0.0/8",
    "COVEY_BOOTSTRAP_OPS_ADDR": "127.0.0.1:0",
}


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    be_patient(monkeypatch)


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in [name for name in os.environ if name.startswith("COVEY_")]:
        monkeypatch.delenv(name)
    for name, value in {**LOOPBACK, "COVEY_BOOTSTRAP_DATA_DIR": str(tmp_path / "seed")}.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@asynccontextmanager
async def running(settings: BootstrapSettings) -> AsyncIterator[Network]:
    """Run a seed for the length of the block; gives the network as its file has it once the seed is entered."""
    lifecycle = Lifecycle()
    own = load_or_create_identity(settings.identity_path).peer_id if settings.identity_path.exists() else None
    async with trio.open_nursery() as nursery:
        before = load_network(settings.network_path).bootstraps if own else ()
        nursery.start_soon(run_seed, settings, lifecycle)
        await until(lambda: settings.network_path.exists() and load_network(settings.network_path).bootstraps != before)
        yield load_network(settings.network_path)
        lifecycle.stop()


async def test_a_seed_makes_its_network_enters_itself_and_prints_the_link(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("COVEY_BOOTSTRAP_NETWORK_NAME", "garden")
    settings = load_settings(BootstrapSettings)
    with pytest.raises(SettingsInvalid, match="start covey-bootstrap run first"):
        network_link(settings)
    async with running(settings) as network:
        identity = load_or_create_identity(settings.identity_path)
        assert (network.name, network.key is not None) == ("garden", True)
        assert {peer_in(addr) for addr in network.bootstraps} == {identity.peer_id}
        assert len(network.bootstraps) == 2
        async with dialer(network) as host, open_dht(host, server=False, validators=VALIDATORS) as dht:
            assert await dht.bootstrap(network.bootstraps) == 1
        assert network_link(settings) == network.to_link()
    assert network.to_link() in capsys.readouterr().out.splitlines()


async def test_a_network_file_of_others_is_used_and_only_our_entry_changes(environment: pytest.MonkeyPatch) -> None:
    settings = load_settings(BootstrapSettings)
    async with running(settings) as first:
        pass
    async with running(settings) as second:
        assert (second.id, second.key) == (first.id, first.key)
        assert len(second.bootstraps) == 2
        assert second.bootstraps != first.bootstraps


async def _relay(network: Network, task_status: trio.TaskStatus[tuple[Host, Dht]]) -> None:
    async with server(network) as host, open_dht(host, server=True, validators=VALIDATORS) as dht:
        task_status.started((host, dht))
        await trio.sleep_forever()


async def test_a_server_that_was_met_is_dialled_again_after_a_restart(
    environment: pytest.MonkeyPatch, nursery: trio.Nursery
) -> None:
    settings = load_settings(BootstrapSettings)
    async with running(settings) as network:
        relay, dht = await nursery.start(_relay, network)
        await dht.bootstrap(network.bootstraps)
        await _until_named(network, relay.peer_id)
    stored = RememberedPeers.decode(settings.peers_path.read_bytes()).newest_first()
    assert [(entry.peer, entry.addrs) for entry in stored] == [(relay.peer_id, relay.addrs)]
    await until(lambda: not relay.connections())
    with relay.subscribe() as events:
        async with running(settings) as network:
            with trio.fail_after(20):
                while not isinstance(event := await events.receive(), Connected):
                    continue  # the end of the first run's connection may be told late
            assert event.peer == peer_in(network.bootstraps[0])
            assert event.connection.inbound


async def _until_named(network: Network, peer: PeerId) -> None:
    """Wait until the seed names a server to others: then it has met it."""
    async with dialer(network) as host, open_dht(host, server=False, validators=VALIDATORS) as dht:
        await dht.bootstrap(network.bootstraps)
        with trio.fail_after(20):
            while not await dht.find_peer(peer):
                await trio.testing.wait_all_tasks_blocked(0.01)


async def test_a_relay_that_registered_is_remembered(environment: pytest.MonkeyPatch) -> None:
    settings = load_settings(BootstrapSettings)
    identity = Identity.generate()
    async with running(settings) as network, server(network, identity) as relay:
        relay.handle(HOP_PROTOCOL, _nothing)
        seed = peer_in(network.bootstraps[0])
        await relay.connect(seed, network.bootstraps)
        addrs = relay.addrs
        await register(relay, identity, seed, namespace=relay_namespace(network), sequence=1)
    stored = RememberedPeers.decode(settings.peers_path.read_bytes()).newest_first()
    assert [(entry.peer, entry.addrs) for entry in stored] == [(identity.peer_id, addrs)]


async def test_a_seed_that_nobody_could_reach_does_not_start(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("COVEY_BOOTSTRAP_NETWORK_SUBNETS")
    settings = load_settings(BootstrapSettings)
    with pytest.RaisesGroup(
        pytest.RaisesExc(SettingsInvalid, match="COVEY_BOOTSTRAP_ANNOUNCE"), flatten_subgroups=True
    ):
        await run_seed(settings, Lifecycle())


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("COVEY_BOOTSTRAP_OPS_ADDR", "9101", "HOST:PORT"),
        ("COVEY_BOOTSTRAP_NETWORK_NAMES", "x", "did you mean COVEY_BOOTSTRAP_NETWORK_NAME"),
        ("COVEY_BOOTSTRAP_MAX_CONNECTIONS", "2", "MAX_CONNECTIONS"),
        ("COVEY_BOOTSTRAP_LOG_LEVEL", "loud", "LOG_LEVEL"),
    ],
)
def test_a_setting_that_cannot_be_is_named(
    environment: pytest.MonkeyPatch, name: str, value: str, problem: str
) -> None:
    environment.setenv(name, value)
    with pytest.raises(SettingsInvalid, match=problem):
        load_settings(BootstrapSettings)


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "covey_bootstrap", *arguments]


def test_the_command_runs_until_sigterm_and_exits_with_0(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    process = subprocess.Popen(_command("run"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    link = process.stdout.readline().strip()  # comes when the seed is ready
    assert Network.from_link(link).bootstraps
    linked = subprocess.run(_command("link"), capture_output=True, text=True, check=True, timeout=30)
    assert linked.stdout.strip() == link
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=10)
    assert process.returncode == 0, errors
    events = [json.loads(line)["event"] for line in errors.splitlines()]
    assert events == ["bootstrap.seed.started", "bootstrap.seed.stopped"]
    assert output == ""


def test_a_mistake_ends_the_command_with_1_and_a_text(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("COVEY_BOOTSTRAP_LISTEN", "/ip4/127.0.0.1/udp/1")
    ran = subprocess.run(_command(), capture_output=True, text=True, check=False, timeout=30)
    assert ran.returncode == 1
    assert ran.stderr.startswith("error: ")
    assert "Traceback" not in ran.stderr


def test_the_command_tells_its_version() -> None:
    ran = subprocess.run(_command("--version"), capture_output=True, text=True, check=True, timeout=30)
    assert ran.stdout.startswith("covey-bootstrap ")


async def test_a_damaged_network_file_is_said_and_left_alone(environment: pytest.MonkeyPatch) -> None:
    settings = load_settings(BootstrapSettings)
    settings.data_dir.mkdir()
    settings.network_path.touch(mode=0o600)
    settings.network_path.write_bytes(b"{half")
    with pytest.raises(CoveyError, match=r"network\.json"):
        await run_seed(settings, Lifecycle())
    assert settings.network_path.read_bytes() == b"{half"


async def test_readiness_and_metrics_are_on_the_operations_port(
    environment: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    environment.setenv("COVEY_BOOTSTRAP_OPS_ADDR", f"127.0.0.1:{unused_tcp_port}")
    settings = load_settings(BootstrapSettings)
    async with running(settings) as network:
        async with dialer(network) as host, open_dht(host, server=False, validators=VALIDATORS) as dht:
            await dht.bootstrap(network.bootstraps)
        ready = await _http(unused_tcp_port, "/readyz")
        assert ready.startswith("HTTP/1.1 200")
        assert '"state": "ready"' in ready
        assert (await _http(unused_tcp_port, "/livez")).startswith("HTTP/1.1 200")
        metrics = await _http(unused_tcp_port, "/metrics")
        assert "covey_dht_routing_peers 0.0" in metrics
        assert "covey_dht_records 0.0" in metrics
        assert 'covey_dht_requests_total{outcome="answered",type="find_node"}' in metrics
        assert 'covey_build_info{role="bootstrap"' in metrics


@pytest.fixture
def unused_tcp_port() -> int:
    import socket  # noqa: PLC0415

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _http(port: int, path: str) -> str:
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        await stream.send_all(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        parts = [part async for part in stream]
    return b"".join(parts).decode()
