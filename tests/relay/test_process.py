"""The command `covey-relay` as an operator runs it: a process, its files, its output, its end."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import h11
import pytest
import trio

from covey_core.host import HostConfig, ProtocolRefused, open_host
from covey_core.host.dht import open_dht
from covey_core.host.rendezvous import relay_namespace, serve_rendezvous
from covey_core.identity import Identity
from covey_core.network import Network, load_network, new_network, save_network
from covey_core.records import NAMESPACE, ContactRecordValidator
from covey_core.wire.circuit import Status
from covey_core.wire.mailbox import AdmitKey, Get, Messages, Put, Stored, StoredMessage
from covey_core.wire.report import encode_report
from covey_relay.__main__ import main
from tests.relay.conftest import host_on
from tests.relay.test_reports import WON, report
from tests.support.circuit_client import reserve, until
from tests.support.mailbox_client import BLOB, MailboxClient, key, mid, verify_key

OPERATOR = "Example e.V."


def environment(folder: Path, **settings: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "COVEY_RELAY_IDENTITY_FILE": str(folder / "identity"),
        "COVEY_RELAY_NETWORK_FILE": str(folder / "network.json"),
        "COVEY_RELAY_LISTEN": "/ip4/127.0.0.1/tcp/0,/ip4/127.0.0.1/tcp/0/ws",
        "COVEY_RELAY_OPS_ADDR": "127.0.0.1:0",
        "COVEY_RELAY_OPERATOR": OPERATOR,
        **{f"COVEY_RELAY_{name.upper()}": value for name, value in settings.items()},
    }


class Running:
    """A relay's process; `lines` come from its standard output."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self._text = b""

    async def line(self) -> str:
        assert self.process.stdout is not None
        while b"\n" not in self._text:
            more = await self.process.stdout.receive_some()
            assert more, "the relay ended its output"
            self._text += more
        line, _, self._text = self._text.partition(b"\n")
        return line.decode()

    async def ends(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return await self.process.wait()


@asynccontextmanager
async def running(folder: Path, **settings: str) -> AsyncIterator[Running]:
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            command = [sys.executable, "-m", "covey_relay"]
            run = partial(trio.run_process, command, env=environment(folder, **settings), check=False)
            process: Any = await nursery.start(partial(run, stdout=subprocess.PIPE, capture_stdout=False))
            try:
                yield Running(process)
            finally:
                process.kill()


@pytest.fixture
def network() -> Network:
    return new_network("home", private=True, subnets=("127.0.0.0/8",))


async def get(port: int, path: str) -> tuple[int, str]:
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        connection = h11.Connection(h11.CLIENT)
        request = h11.Request(method="GET", target=path, headers=[("host", "ops"), ("connection", "close")])
        await stream.send_all(connection.send(request) + connection.send(h11.EndOfMessage()))
        status, body = 0, b""
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await stream.receive_some())
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return status, body.decode()


async def test_a_relay_enters_the_network_serves_and_stops_with_code_0(
    tmp_path: Path, network: Network, unused_port: int
) -> None:
    save_network(tmp_path / "network.json", network)
    async with running(tmp_path, ops_addr=f"127.0.0.1:{unused_port}") as relay:
        link = await relay.line()
        joined = Network.from_link(link)
        assert joined == load_network(tmp_path / "network.json")
        (entry,) = joined.relays
        assert entry.operator == OPERATOR
        assert len(entry.addrs) == 2
        assert any("/ws/p2p/" in addr for addr in entry.addrs)
        assert (await get(unused_port, "/readyz"))[0] == 200
        assert (await get(unused_port, "/livez"))[0] == 200
        async with host_on(joined) as alice:
            await alice.connect(entry.peer, entry.addrs)
            stub: Any = type("RelayHost", (), {"peer_id": entry.peer})
            stub.network = joined
            assert (await reserve(alice, stub)).status is Status.OK
            assert await report(alice, stub, encode_report({WON: 3}))
            status, metrics = await get(unused_port, "/metrics")
        assert status == 200
        for line in (
            'covey_build_info{role="relay"',
            'covey_state{state="ready"} 1.0',
            'libp2p_relaysvc_reservations_total{type="opened"} 1.0',
            'libp2p_relaysvc_reservation_rejections_total{reason="table_full"} 0.0',
            'libp2p_relaysvc_connections_total{type="opened"} 0.0',
            'libp2p_relaysvc_connection_rejections_total{reason="no_reservation"} 0.0',
            "libp2p_relaysvc_connection_duration_seconds_count 0.0",
            "libp2p_relaysvc_data_transferred_bytes_total 0.0",
            'covey_relay_closed_total{reason="drain"} 0.0',
            'covey_relay_reported_punches_total{nat_pair="easy_easy",outcome="success",transport="quic"} 3.0',
            'covey_relay_reported_punches_total{nat_pair="hard_hard",outcome="failed",transport="other"} 0.0',
            'covey_usage_ratio{resource="reservations"} 0.00025',
            'covey_usage_ratio{resource="circuits"} 0.0',
            'covey_usage_ratio{resource="fds"} ',
            'covey_usage_ratio{resource="disk"} ',
            'covey_mailbox_events_total{event="stored"} 0.0',
            'covey_mailbox_request_seconds_count{op="put"} 0.0',
            "covey_mailbox_queues 0.0",
            "covey_mailbox_oldest_seconds 0.0",
            "covey_dht_routing_peers 0.0",
        ):
            assert line in metrics, line
        assert entry.peer not in metrics
        assert await relay.ends() == 0


async def test_a_second_start_keeps_the_identity_and_replaces_its_own_entry(tmp_path: Path, network: Network) -> None:
    save_network(tmp_path / "network.json", network)
    links = []
    for announced in ("/ip4/127.0.0.1/tcp/4101", "/dns4/relay.example/tcp/4101"):
        async with running(tmp_path, announce=announced) as relay:
            links.append(Network.from_link(await relay.line()))
            assert await relay.ends() == 0
    first, second = (link.relays for link in links)
    assert len(first) == len(second) == 1
    assert first[0].peer == second[0].peer
    assert second[0].addrs == (f"/dns4/relay.example/tcp/4101/p2p/{second[0].peer}",)


async def test_mailboxes_are_served_and_outlive_the_process(tmp_path: Path, network: Network) -> None:
    save_network(tmp_path / "network.json", network)
    async with running(tmp_path) as relay:
        joined = Network.from_link(await relay.line())
        async with host_on(joined) as dialer:
            await dialer.connect(joined.relays[0].peer, joined.relays[0].addrs)
            client = await MailboxClient.open(dialer, joined.relays[0].peer)
            ids = await client.new("bob", AdmitKey(verify_key("alice")))
            stored = await client.ask(Put(ids.send_id, mid(1), 3600, BLOB), key("alice"))
            assert stored == Stored(1)
            assert await relay.ends() == 0
    async with running(tmp_path) as relay:
        joined = Network.from_link(await relay.line())
        async with host_on(joined) as dialer:
            await dialer.connect(joined.relays[0].peer, joined.relays[0].addrs)
            client = await MailboxClient.open(dialer, joined.relays[0].peer)
            assert await client.ask(Get(ids.recv_id, 0, 9), key("bob")) == Messages((StoredMessage(1, mid(1), BLOB),))
            assert await relay.ends() == 0


async def test_damaged_mailboxes_stop_the_start_and_the_remedy_is_said(tmp_path: Path, network: Network) -> None:
    save_network(tmp_path / "network.json", network)
    await trio.Path(tmp_path / "mailboxes.db").write_bytes(b"no database" * 1_000)
    environ = environment(tmp_path)
    with trio.fail_after(60):
        done = await trio.run_process(
            [sys.executable, "-m", "covey_relay"], env=environ, check=False, capture_stdout=True, capture_stderr=True
        )
    assert done.returncode == 1
    assert b"mailboxes.db" in done.stderr
    assert b"start with an empty one" in done.stderr
    assert b"Traceback" not in done.stderr


async def test_a_relay_without_mailboxes_serves_none_and_makes_no_file(tmp_path: Path, network: Network) -> None:
    save_network(tmp_path / "network.json", network)
    async with running(tmp_path, mailbox="off") as relay:
        joined = Network.from_link(await relay.line())
        async with host_on(joined) as dialer:
            await dialer.connect(joined.relays[0].peer, joined.relays[0].addrs)
            with pytest.raises(ProtocolRefused):
                await MailboxClient.open(dialer, joined.relays[0].peer)
        assert await relay.ends() == 0
    assert not await trio.Path(tmp_path / "mailboxes.db").exists()


async def test_a_relay_waits_for_the_network_file(tmp_path: Path, network: Network) -> None:
    async with running(tmp_path) as relay:
        await until((tmp_path / "identity").exists)
        save_network(tmp_path / "network.json", network)
        assert Network.from_link(await relay.line()).relays[0].operator == OPERATOR
        assert await relay.ends() == 0


async def test_a_relay_that_still_waits_stops_with_code_0(tmp_path: Path) -> None:
    async with running(tmp_path) as relay:
        await until((tmp_path / "identity").exists)
        assert await relay.ends() == 0


async def test_a_relay_joins_the_dht_and_registers_at_the_seed(tmp_path: Path, network: Network) -> None:
    identity = Identity.generate()
    config = HostConfig(identity=identity, network=network, listen=("/ip4/127.0.0.1/tcp/0",))
    validators = {NAMESPACE: ContactRecordValidator()}
    with trio.fail_after(60):
        async with open_host(config) as seed, open_dht(seed, server=True, validators=validators) as dht:
            registrations = serve_rendezvous(seed, namespace=relay_namespace(network))
            complete = Network(network.name, network.id, network.scope, network.key, bootstraps=seed.addrs)
            save_network(tmp_path / "network.json", complete)
            async with running(tmp_path) as relay:
                entry = Network.from_link(await relay.line()).relays[0]
                await until(lambda: [peer.peer for peer in registrations.peers(network.scope)] == [entry.peer])
                await until(lambda: [peer.peer for peer in dht.servers()] == [entry.peer])
                assert await relay.ends() == 0


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"network_wait_seconds": "0"}, "covey-relay join"),
        ({"listn": "/ip4/127.0.0.1/tcp/0"}, "COVEY_RELAY_LISTEN"),
        ({"circuits": "none"}, "COVEY_RELAY_CIRCUITS"),
        ({"ops_addr": "somewhere"}, "COVEY_RELAY_OPS_ADDR"),
        ({"log_level": "loud"}, "COVEY_RELAY_LOG_LEVEL"),
        ({"mailbox": "perhaps"}, "COVEY_RELAY_MAILBOX"),
        ({"mailbox_ttl_seconds": "9999999"}, "COVEY_RELAY_MAILBOX_TTL_SECONDS"),
        ({"mailbox_file": "/tmp/m.db", "mailbox_database": "postgresql://x/y"}, "give one of COVEY_RELAY_MAILBOX_FILE"),
    ],
)
def test_what_the_operator_must_mend_is_said_and_the_exit_code_is_1(
    tmp_path: Path, settings: dict[str, str], told: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "covey_relay", "run"],
        env=environment(tmp_path, **settings), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_join_writes_the_network_and_link_prints_it(
    tmp_path: Path, network: Network, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    assert main(["link"]) == 1
    assert "covey-relay join" in capsys.readouterr().err
    assert main(["join", network.to_link()]) == 0
    assert main(["link"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == network.to_link()
    assert load_network(tmp_path / "network.json") == network
    other = new_network("other", private=True)
    assert main(["join", other.to_link()]) == 1
    assert "move it away" in capsys.readouterr().err
    assert main(["join", "covey:net.nonsense"]) == 1


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("covey-relay ")


@pytest.fixture
def unused_port() -> int:

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
