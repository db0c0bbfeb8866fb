"""js-libp2p's kad-dht and our DHT on a public network: each finds the other's servers and values."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio
from nacl.signing import SigningKey

from covey_core.host import Host
from covey_core.host.dht import Dht, open_dht
from covey_core.network import Network, Scope, new_network
from covey_core.records import NAMESPACE, ContactRecordValidator
from tests.host_dht.loopback import be_patient, dialer, server, until
from tests.host_dht.test_dht import contact_record
from tests.interop.conftest import ForeignPeer, RunJs

pytestmark = pytest.mark.interop

SCRIPT = "kad/peer.js"
NOW = 1_800_000_000
VALIDATORS = {NAMESPACE: ContactRecordValidator()}
DEADLINE_SECONDS = 120


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    be_patient(monkeypatch)


@pytest.fixture
def network() -> Network:
    """Without a key; its scope is loopback, so that servers of the test may be told to others."""
    return replace(new_network("public", private=False), scope=Scope(("127.0.0.0/8",)))


@asynccontextmanager
async def seed_and_relay(network: Network) -> AsyncIterator[tuple[Host, Dht, Host, Dht]]:
    async with (
        server(network) as seed,
        server(network) as relay,
        open_dht(seed, server=True, validators=VALIDATORS, wall_clock=lambda: NOW) as at_seed,
        open_dht(relay, server=True, validators=VALIDATORS, wall_clock=lambda: NOW) as at_relay,
    ):
        await at_relay.bootstrap(seed.addrs)
        await until(lambda: at_seed.routing_peers == 1)
        yield seed, at_seed, relay, at_relay


async def started(peer: ForeignPeer, network: Network, seed: Host, *, serve: bool = False) -> str:
    await peer.tell(do="start", protocol=f"{network.kad_prefix}/kad/1.0.0", seed=seed.addrs[0], serve=serve)
    name: str = (await peer.hear("started"))["peer"]
    return name


async def test_a_js_client_bootstraps_from_our_seed_and_finds_another_server(run_js: RunJs, network: Network) -> None:
    with trio.fail_after(DEADLINE_SECONDS):
        async with seed_and_relay(network) as (seed, _, relay, _), run_js(SCRIPT) as js:
            await started(js, network, seed)
            await js.tell(do="find", peer=relay.peer_id)
            found = await js.hear("found")
            assert found["peer"] == relay.peer_id
            assert [addr.partition("/p2p/")[0] for addr in found["addrs"]] == [relay.addrs[0].partition("/p2p/")[0]]
            await js.tell(do="closest", key="/c/anything")  # js asks no peer farther away than the one that named it
            closest = set((await js.hear("closest"))["peers"])
            assert closest
            assert closest <= {seed.peer_id, relay.peer_id}


async def test_a_js_client_puts_a_contact_record_that_ours_get_and_gets_what_ours_put(
    run_js: RunJs, network: Network
) -> None:
    signer = SigningKey.generate()
    key, first = contact_record(signer, 1, NOW + 3_600)
    _, second = contact_record(signer, 2, NOW + 3_600)
    with trio.fail_after(DEADLINE_SECONDS):
        async with (
            seed_and_relay(network) as (seed, at_seed, relay, at_relay),
            dialer(network) as host,
            open_dht(host, server=False, validators=VALIDATORS, wall_clock=lambda: NOW) as dht,
            run_js(SCRIPT) as js,
        ):
            await dht.bootstrap(seed.addrs)
            await started(js, network, seed)
            await js.tell(do="put", key=key, value=first.hex())
            holders = set((await js.hear("put"))["holders"])
            assert holders
            assert (at_seed.records, at_relay.records) == (seed.peer_id in holders, relay.peer_id in holders)
            assert await dht.get(key) == (first,)
            assert await dht.put(key, second) == 2
            await js.tell(do="get", key=key)
            assert second.hex() in (await js.hear("got"))["values"]


async def test_a_forged_record_of_a_js_client_is_refused(run_js: RunJs, network: Network) -> None:
    key, value = contact_record(SigningKey.generate(), 1, NOW + 3_600)
    with trio.fail_after(DEADLINE_SECONDS):
        async with seed_and_relay(network) as (seed, at_seed, _, at_relay), run_js(SCRIPT) as js:
            await started(js, network, seed)
            await js.tell(do="put", key=key, value=(value[:-1] + bytes([value[-1] ^ 1])).hex())
            told = await js.hear("put")
            assert told["holders"] == []
            assert told["errors"]
            assert (at_seed.records, at_relay.records) == (0, 0)


async def test_a_js_server_enters_our_tables_and_holds_what_ours_put(run_js: RunJs, network: Network) -> None:
    key, value = contact_record(SigningKey.generate(), 1, NOW + 3_600)
    with trio.fail_after(DEADLINE_SECONDS):
        async with (
            seed_and_relay(network) as (seed, at_seed, _, _),
            dialer(network) as host,
            open_dht(host, server=False, validators=VALIDATORS, wall_clock=lambda: NOW) as dht,
            run_js(SCRIPT) as js,
        ):
            peer = await started(js, network, seed, serve=True)
            await js.tell(do="closest", key="/c/anything")
            await js.hear("closest")
            await until(lambda: peer in {entry.peer for entry in at_seed.servers()})
            while await dht.bootstrap(seed.addrs) < 3:  # a busy machine: js may answer later than the lookup waits
                await trio.lowlevel.checkpoint()
            assert await dht.put(key, value) == 3
            assert await dht.get(key) == (value,)
