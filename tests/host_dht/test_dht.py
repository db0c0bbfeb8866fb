"""The DHT over real hosts on loopback."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
import trio
from nacl.signing import SigningKey

from covey_core.errors import StreamLost
from covey_core.host import kad_limits as limits
from covey_core.host.dht import Dht, open_dht
from covey_core.host.kad_identify import identify
from covey_core.network import Network
from covey_core.records import ContactRecord, ContactRecordValidator, encode_record, record_key, signed_part
from tests.host_dht.loopback import be_patient, dialer, private_network, server, until
from tests.host_dht.values import NumberedValidator

KEY = "/c/key"
VALIDATORS = {"c": NumberedValidator()}


def contact_record(key: SigningKey, sequence: int, expires_at: int) -> tuple[str, bytes]:
    """A contact record as the DHT sees it; inside is nothing of meaning."""
    day_key = bytes(key.verify_key)
    message = signed_part(day_key=day_key, sequence=sequence, expires_at=expires_at, ciphertext=b"sealed")
    record = ContactRecord(day_key, sequence, expires_at, b"sealed", key.sign(message).signature)
    return record_key(day_key), encode_record(record)


@pytest.fixture
def network() -> Network:
    return private_network()


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    be_patient(monkeypatch)


async def _put_and_get(network: Network, at: tuple[str, ...], number: int) -> None:
    async with dialer(network) as host, open_dht(host, server=False, validators=VALIDATORS) as dht:
        assert await dht.bootstrap(at) == 2
        assert await dht.put(f"/c/{number}", b"1:a") == 2
        assert await dht.get(f"/c/{number}") == (b"1:a",)


async def test_clients_put_and_get_at_a_seed_and_a_relay_all_at_once(network: Network) -> None:
    async with (
        server(network) as seed,
        server(network) as relay,
        open_dht(seed, server=True, validators=VALIDATORS) as at_seed,
        open_dht(relay, server=True, validators=VALIDATORS) as at_relay,
    ):
        assert await at_relay.bootstrap(seed.addrs) == 1
        await until(lambda: at_seed.routing_peers == 1)
        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(_put_and_get, network, seed.addrs, number)
        assert (at_seed.records, at_relay.records) == (10, 10)


async def test_a_contact_record_is_held_under_its_46_byte_key_and_a_forged_one_is_not(network: Network) -> None:
    now = 1_800_000_000
    validators = {"c": ContactRecordValidator()}
    key, older = contact_record(SigningKey.generate(), 1, now + 3_600)
    assert len(key) == 46
    async with (
        server(network) as seed,
        dialer(network) as host,
        open_dht(seed, server=True, validators=validators, wall_clock=lambda: now) as at_seed,
        open_dht(host, server=False, validators=validators, wall_clock=lambda: now) as dht,
        open_dht(host, server=False, validators={"c": NoRules()}) as forger,
    ):
        await dht.bootstrap(seed.addrs)
        await forger.bootstrap(seed.addrs)
        assert await forger.put(key, older[:-1] + bytes([older[-1] ^ 1])) == 0
        assert at_seed.records == 0
        assert await dht.put(key, older) == 1
        assert await dht.get(key) == (older,)


class NoRules(NumberedValidator):
    def validate(self, key: bytes, value: bytes, *, now: float) -> None:
        """Accept anything."""


async def test_a_new_sequence_is_seen_at_once_by_everybody(network: Network) -> None:
    async with AsyncExitStack() as stack:
        hosts = [await stack.enter_async_context(server(network)) for _ in range(3)]
        dhts: list[Dht] = []
        for host in hosts:
            dht = await stack.enter_async_context(open_dht(host, server=True, validators=VALIDATORS))
            await dht.bootstrap(hosts[0].addrs)
            dhts.append(dht)
        await until(lambda: all(dht.routing_peers == 2 for dht in dhts))
        for number in range(1, 6):
            assert await dhts[number % 3].put(KEY, b"%d:a" % number) == 3
            assert [await dht.get(KEY) for dht in dhts] == [(b"%d:a" % number,)] * 3


async def test_idle_streams_of_one_peer_stall_neither_it_nor_others(network: Network) -> None:
    async with (
        server(network) as seed,
        dialer(network) as idle,
        dialer(network) as host,
        open_dht(seed, server=True, validators=VALIDATORS),
        open_dht(host, server=False, validators=VALIDATORS) as dht,
    ):
        await idle.connect(seed.peer_id, seed.addrs)
        protocol = f"{network.kad_prefix}/kad/1.0.0"
        streams = [await idle.open_stream(seed.peer_id, protocol) for _ in range(limits.PEER_STREAMS + 4)]
        await dht.bootstrap(seed.addrs)
        assert await dht.put(KEY, b"1:a") == 1
        refused = streams[-1]
        with pytest.raises(StreamLost):
            await refused.read_frame(limit=1)


async def test_who_does_not_prove_the_networks_key_gets_no_answer(network: Network) -> None:
    stranger = replace(network, key=bytes(32))
    async with (
        server(network) as seed,
        dialer(stranger) as host,
        open_dht(seed, server=True, validators=VALIDATORS) as at_seed,
        open_dht(host, server=False, validators=VALIDATORS) as dht,
    ):
        assert await dht.bootstrap(seed.addrs) == 0
        assert at_seed.routing_peers == 0


async def test_two_networks_in_one_process_keep_their_values_and_ids_apart() -> None:
    one, two = private_network(), private_network()
    async with (
        server(one) as first,
        server(two) as second,
        dialer(one) as host,
        open_dht(first, server=True, validators=VALIDATORS) as at_first,
        open_dht(second, server=True, validators=VALIDATORS) as at_second,
        open_dht(host, server=False, validators=VALIDATORS) as dht,
    ):
        await dht.bootstrap([*first.addrs, *second.addrs])
        assert dht.routing_peers == 1
        assert await dht.put(KEY, b"1:a") == 1
        assert (at_first.records, at_second.records) == (1, 0)


async def test_the_dhts_protocol_id_carries_the_networks_id(network: Network) -> None:
    async with (
        server(network) as seed,
        dialer(network) as host,
        open_dht(seed, server=True, validators=VALIDATORS),
    ):
        await host.connect(seed.peer_id, seed.addrs)
        said = await identify(host, seed.peer_id)
        assert f"/covey/{network.id.hex()[:8]}/kad/1.0.0" in said.protocols
        assert "/ipfs/kad/1.0.0" not in said.protocols
        assert said.addrs == seed.addrs


async def test_a_server_that_restarts_is_found_again_by_those_who_knew_it(network: Network) -> None:
    async with (
        server(network) as seed,
        open_dht(seed, server=True, validators=VALIDATORS) as at_seed,
        dialer(network) as host,
        open_dht(host, server=False, validators=VALIDATORS) as dht,
    ):
        async with server(network) as relay, open_dht(relay, server=True, validators=VALIDATORS) as at_relay:
            await at_relay.bootstrap(seed.addrs)
            await until(lambda: at_seed.routing_peers == 1)
            await dht.bootstrap(seed.addrs)
            assert await dht.put(KEY, b"1:a") == 2
        assert await dht.put(KEY, b"2:a") == 1
        assert await dht.get(KEY) == (b"2:a",)
