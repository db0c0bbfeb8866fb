"""The DHT over hosts in memory: joining, put, get, limits and upkeep, on a clock of the test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio
from prometheus_client import CollectorRegistry
from trio.testing import MockClock

from covey_core.errors import ProtocolViolation, StreamLost
from covey_core.host import kad_limits as limits
from covey_core.host.dht import Dht, open_dht
from covey_core.host.dht_metrics import DhtMetrics
from covey_core.host.kad_client import request
from covey_core.host.kad_slots import StreamSlots
from covey_core.host.kad_wire import KadMessage, Kind, decode_message, encode_message
from covey_core.network import Network, Scope
from covey_core.peers import peer_id_bytes
from tests.host_dht.memory import MemoryHost, MemoryNet, MemoryStream, settled
from tests.host_dht.values import NumberedValidator, kad_peer, peer_number

KEY = "/c/key"
VALIDATORS = {"c": NumberedValidator()}
NETWORK = Network("test", bytes(16), Scope(("10.0.0.0/8",)))
PROTOCOL = "/covey/00000000/kad/1.0.0"


@pytest.fixture
def net(nursery: trio.Nursery) -> MemoryNet:
    return MemoryNet(NETWORK, nursery)


@asynccontextmanager
async def dhts(net: MemoryNet, *numbers: int) -> AsyncIterator[list[tuple[MemoryHost, Dht]]]:
    """Servers that joined at the first one."""
    async with AsyncExitStack() as stack:
        made: list[tuple[MemoryHost, Dht]] = []
        for number in numbers:
            host = net.host(number)
            dht = await stack.enter_async_context(open_dht(host.as_host, server=True, validators=VALIDATORS))
            await dht.bootstrap(made[0][0].addrs if made else ())
            made.append((host, dht))
        await settled()
        yield made


@asynccontextmanager
async def client(net: MemoryNet, number: int, at: MemoryHost) -> AsyncIterator[Dht]:
    host = net.host(number, listening=False)
    async with open_dht(host.as_host, server=False, validators=VALIDATORS) as dht:
        await dht.bootstrap(at.addrs)
        yield dht


async def raw_stream(net: MemoryNet, number: int, at: MemoryHost) -> MemoryStream:
    host = net.hosts.get(peer_number(number)) or net.host(number, listening=False)
    if not host.connections(at.peer_id):
        await host.connect(at.peer_id, at.addrs, timeout_seconds=1)
    return await host.open_stream(at.peer_id, PROTOCOL)


async def ask(net: MemoryNet, number: int, at: MemoryHost, message: KadMessage) -> KadMessage:
    stream = await raw_stream(net, number, at)
    await stream.write_frame(encode_message(message), limit=limits.MESSAGE_BYTES)
    answer = await stream.read_frame(limit=limits.MESSAGE_BYTES)
    assert answer is not None
    return decode_message(answer)


async def test_a_value_put_by_one_client_is_got_by_another_from_a_seed_and_a_relay(
    autojump_clock: MockClock, net: MemoryNet
) -> None:
    async with dhts(net, 1, 2) as ((seed, _), _), client(net, 10, seed) as one, client(net, 11, seed) as two:
        assert await one.put(KEY, b"1:a") == 2
        assert await two.get(KEY) == (b"1:a",)


async def test_servers_learn_of_each_other_and_clients_are_told_to_nobody(
    autojump_clock: MockClock, net: MemoryNet
) -> None:
    async with dhts(net, 1, 2, 3) as servers, client(net, 10, servers[0][0]) as dht:
        await settled()
        assert [d.routing_peers for _, d in servers] == [2, 2, 2]
        assert dht.routing_peers == 3
        seed = servers[0][0]
        assert (peer_number(10), PROTOCOL) not in seed.opened


async def test_get_returns_the_distinct_values_of_all_holders_best_first(
    autojump_clock: MockClock, net: MemoryNet
) -> None:
    async with dhts(net, 1, 2, 3) as servers, client(net, 10, servers[0][0]) as dht:
        for number, (host, _) in enumerate(servers, 1):
            await ask(net, 20, host, KadMessage(Kind.PUT_VALUE, KEY.encode(), b"%d:a" % number))
        values = await dht.get(KEY)
        assert set(values) == {b"1:a", b"2:a", b"3:a"}
        assert values[0] == b"3:a"


async def test_a_server_never_answers_itself_from_its_own_copy_alone(autojump_clock: MockClock, net: MemoryNet) -> None:
    async with dhts(net, 1, 2) as ((seed, seed_dht), (relay, _)):
        await ask(net, 20, seed, KadMessage(Kind.PUT_VALUE, KEY.encode(), b"1:old"))
        await ask(net, 20, relay, KadMessage(Kind.PUT_VALUE, KEY.encode(), b"2:new"))
        assert (await seed_dht.get(KEY))[0] == b"2:new"


async def test_the_same_value_again_is_acknowledged_and_a_lower_one_is_not(
    autojump_clock: MockClock, net: MemoryNet
) -> None:
    async with dhts(net, 1, 2) as ((seed, _), _), client(net, 10, seed) as dht:
        assert await dht.put(KEY, b"2:a") == 2
        assert await dht.put(KEY, b"2:a") == 2
        assert await dht.put(KEY, b"1:a") == 0
        assert await dht.get(KEY) == (b"2:a",)


async def test_our_own_invalid_value_is_refused_before_anything_is_sent(
    autojump_clock: MockClock, net: MemoryNet
) -> None:
    async with dhts(net, 1) as ((seed, seed_dht),), client(net, 10, seed) as dht:
        with pytest.raises(ProtocolViolation):
            await dht.put(KEY, b"0:a")
        with pytest.raises(ProtocolViolation):
            await dht.put("/other/key", b"1:a")
        assert seed_dht.records == 0


async def test_an_invalid_value_of_a_strangers_put_is_refused_by_a_reset_and_not_held(
    autojump_clock: MockClock, net: MemoryNet
) -> None:
    async with dhts(net, 1) as ((seed, seed_dht),):
        with pytest.raises(StreamLost):
            await ask(net, 20, seed, KadMessage(Kind.PUT_VALUE, KEY.encode(), b"0:a"))
        assert seed_dht.records == 0


async def test_an_invalid_value_that_a_bad_server_returns_is_left_out(
    autojump_clock: MockClock, net: MemoryNet
) -> None:
    async def lie(stream: MemoryStream) -> None:
        asked = decode_message(await stream.read_frame(limit=limits.MESSAGE_BYTES) or b"")
        answer = KadMessage(asked.kind, asked.key, b"0:forged" if asked.kind is Kind.GET_VALUE else None)
        await stream.write_frame(encode_message(answer), limit=limits.MESSAGE_BYTES)

    async with dhts(net, 1) as ((seed, _),), client(net, 10, seed) as dht:
        liar = net.host(2)
        liar.handle(PROTOCOL, lie)
        await dht.bootstrap(liar.addrs)
        await dht.put(KEY, b"1:a")
        assert await dht.get(KEY) == (b"1:a",)


async def test_idle_streams_of_many_peers_stall_nobody(autojump_clock: MockClock, net: MemoryNet) -> None:
    async with dhts(net, 1) as ((seed, _),), client(net, 10, seed) as dht:
        each = limits.PEER_STREAMS + 4
        idle = [await raw_stream(net, 20 + number % 4, seed) for number in range(4 * each)]
        await settled()
        with trio.fail_after(1):
            assert await dht.put(KEY, b"1:a") == 1
        assert sum(stream.is_reset for stream in idle) == 4 * 4


async def test_a_full_server_pushes_out_the_stream_that_is_idle_longest(
    autojump_clock: MockClock, net: MemoryNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("covey_core.host.dht_server.StreamSlots", lambda: StreamSlots(total=3))
    async with dhts(net, 1) as ((seed, _),):
        idle: list[MemoryStream] = []
        for number in range(3):
            idle.append(await raw_stream(net, 20 + number, seed))
            await settled()
        assert (await ask(net, 30, seed, KadMessage(Kind.PING))).kind is Kind.PING
        await settled()
        assert [stream.is_reset for stream in idle] == [True, False, False]


async def test_a_client_never_opens_more_streams_to_a_server_than_it_allows(
    autojump_clock: MockClock, net: MemoryNet
) -> None:
    async with dhts(net, 1) as ((seed, at_seed),), client(net, 10, seed) as dht:
        async with trio.open_nursery() as nursery:
            for number in range(10 * limits.PEER_STREAMS):
                nursery.start_soon(dht.put, f"/c/{number}", b"1:a")
        assert at_seed.records == 10 * limits.PEER_STREAMS


async def test_an_idle_stream_is_reset_after_its_time_and_then_the_peer_may_open_others(
    autojump_clock: MockClock, net: MemoryNet
) -> None:
    async with dhts(net, 1) as ((seed, _),):
        streams = [await raw_stream(net, 20, seed) for _ in range(limits.PEER_STREAMS)]
        await trio.sleep(limits.STREAM_IDLE_SECONDS + 1)
        assert all(stream.is_reset for stream in streams)
        assert (await ask(net, 20, seed, KadMessage(Kind.PING))).kind is Kind.PING


async def test_a_stream_may_carry_several_requests(autojump_clock: MockClock, net: MemoryNet) -> None:
    async with dhts(net, 1) as ((seed, _),):
        stream = await raw_stream(net, 20, seed)
        for _ in range(3):
            await stream.write_frame(encode_message(KadMessage(Kind.PING)), limit=limits.MESSAGE_BYTES)
            assert await stream.read_frame(limit=limits.MESSAGE_BYTES) is not None


async def test_a_peer_over_its_rate_is_reset_and_others_are_served(autojump_clock: MockClock, net: MemoryNet) -> None:
    async with dhts(net, 1) as ((seed, _),):
        stream = await raw_stream(net, 20, seed)
        for _ in range(int(limits.PEER_REQUESTS_BURST)):
            await stream.write_frame(encode_message(KadMessage(Kind.PING)), limit=limits.MESSAGE_BYTES)
            await stream.read_frame(limit=limits.MESSAGE_BYTES)
        with pytest.raises(StreamLost):
            await ask(net, 20, seed, KadMessage(Kind.PING))
        assert (await ask(net, 21, seed, KadMessage(Kind.PING))).kind is Kind.PING


@pytest.mark.parametrize("payload", [b"\xff", b"\x08\x09", encode_message(KadMessage(Kind.FIND_NODE)), b""])
async def test_garbage_resets_the_stream_and_the_server_goes_on(
    autojump_clock: MockClock, net: MemoryNet, payload: bytes
) -> None:
    async with dhts(net, 1) as ((seed, _),):
        stream = await raw_stream(net, 20, seed)
        await stream.write_frame(payload, limit=limits.MESSAGE_BYTES)
        with pytest.raises(StreamLost):
            await stream.read_frame(limit=limits.MESSAGE_BYTES)
        assert (await ask(net, 20, seed, KadMessage(Kind.PING))).kind is Kind.PING


async def test_find_node_for_a_servers_own_id_names_it_first(autojump_clock: MockClock, net: MemoryNet) -> None:
    async with dhts(net, 1, 2) as ((seed, _), (relay, _)):
        for host in (seed, relay):
            answer = await ask(net, 20, seed, KadMessage(Kind.FIND_NODE, peer_id_bytes(host.peer_id)))
            assert answer.closer[0] == kad_peer(host.number)


async def test_who_asks_is_not_told_about_itself(autojump_clock: MockClock, net: MemoryNet) -> None:
    async with dhts(net, 1, 2, 3) as servers:
        answer = await ask(net, 2, servers[0][0], KadMessage(Kind.FIND_NODE, peer_id_bytes(peer_number(2))))
        assert answer.closer == (kad_peer(3),)


async def test_find_peer_returns_the_addresses_of_a_server(autojump_clock: MockClock, net: MemoryNet) -> None:
    async with dhts(net, 1, 2, 3) as servers, client(net, 10, servers[0][0]) as dht:
        assert await dht.find_peer(peer_number(3)) == kad_peer(3).addrs
        assert await dht.find_peer(peer_number(99)) == ()


async def test_add_provider_is_passed_over_and_get_providers_names_servers(
    autojump_clock: MockClock, net: MemoryNet
) -> None:
    async with dhts(net, 1, 2) as ((seed, _), _):
        stream = await raw_stream(net, 20, seed)
        await stream.write_frame(encode_message(KadMessage(Kind.ADD_PROVIDER, b"cid")), limit=limits.MESSAGE_BYTES)
        await stream.write_frame(encode_message(KadMessage(Kind.GET_PROVIDERS, b"cid")), limit=limits.MESSAGE_BYTES)
        answer = decode_message(await stream.read_frame(limit=limits.MESSAGE_BYTES) or b"")
        assert answer.kind is Kind.GET_PROVIDERS
        assert answer.closer == (kad_peer(2),)


async def test_a_peer_outside_the_scope_or_over_a_circuit_does_not_enter_the_table(
    autojump_clock: MockClock, net: MemoryNet
) -> None:
    async with dhts(net, 1) as ((seed, seed_dht),):
        for number, far, relayed in ((2, True, False), (3, False, True)):
            host = net.host(number)
            async with open_dht(host.as_host, server=True, validators=VALIDATORS) as dht:
                host.relayed = relayed
                if far:
                    host.identify = _identify_as_public(host)  # type: ignore[method-assign]
                await dht.bootstrap(seed.addrs)
                await settled()
        assert seed_dht.routing_peers == 0


def _identify_as_public(host: MemoryHost):  # type: ignore[no-untyped-def]
    async def identify(stream: MemoryStream) -> None:
        from libp2p.identity.identify.pb.identify_pb2 import Identify  # noqa: PLC0415

        from covey_core.host.kad_addrs import binary_addr  # noqa: PLC0415

        message = Identify(protocols=list(host.handlers), listen_addrs=[binary_addr("/ip4/127.0.0.1/tcp/1")])
        await stream.write_frame(message.SerializeToString(), limit=65_536)
        await stream.close()

    return identify


async def test_a_dead_server_delays_a_get_by_the_patience_only_and_then_not_at_all(
    autojump_clock: MockClock, net: MemoryNet
) -> None:
    async with dhts(net, 1, 2) as ((seed, _), (relay, _)), client(net, 10, seed) as dht:
        assert await dht.put(KEY, b"1:a") == 2
        relay.silent = True
        started = trio.current_time()
        assert await dht.get(KEY) == (b"1:a",)
        assert trio.current_time() - started <= limits.PATIENCE_SECONDS + 0.01
        started = trio.current_time()
        assert await dht.get(KEY) == (b"1:a",)
        assert trio.current_time() == started


async def test_nothing_is_not_found_before_the_slow_servers_had_their_time(
    autojump_clock: MockClock, net: MemoryNet
) -> None:
    async with dhts(net, 1, 2) as ((seed, _), (relay, _)), client(net, 10, seed) as dht:
        await ask(net, 20, relay, KadMessage(Kind.PUT_VALUE, KEY.encode(), b"1:a"))
        answers = relay.handlers[PROTOCOL]

        async def late(stream: MemoryStream) -> None:
            await trio.sleep(2 * limits.PATIENCE_SECONDS)
            await answers(stream)

        relay.handle(PROTOCOL, late)
        assert await dht.get(KEY) == (b"1:a",)


async def test_a_join_waits_for_slow_servers_so_that_the_table_is_full_after_it(
    autojump_clock: MockClock, net: MemoryNet
) -> None:
    async with dhts(net, 1, 2) as ((seed, _), (relay, _)):
        answers = relay.handlers[PROTOCOL]

        async def late(stream: MemoryStream) -> None:
            await trio.sleep(2 * limits.PATIENCE_SECONDS)
            await answers(stream)

        relay.handle(PROTOCOL, late)
        async with client(net, 10, seed) as dht:
            assert dht.routing_peers == 2


async def test_a_put_with_a_holder_waits_for_a_dead_one_no_longer_than_its_patience(
    autojump_clock: MockClock, net: MemoryNet
) -> None:
    async with dhts(net, 1, 2) as ((seed, _), (relay, _)), client(net, 10, seed) as dht:
        relay.silent = True
        started = trio.current_time()
        assert await dht.put(KEY, b"1:a") == 1
        assert trio.current_time() - started <= limits.PATIENCE_SECONDS + limits.PUT_PATIENCE_SECONDS + 0.01


async def test_with_nobody_there_put_and_get_end_in_bounded_time_with_nothing(
    autojump_clock: MockClock, net: MemoryNet
) -> None:
    seed = net.host(1)
    seed.dead = True
    async with client(net, 10, seed) as dht:
        with trio.fail_after(limits.OPERATION_SECONDS + 1):
            assert await dht.put(KEY, b"1:a") == 0
        with trio.fail_after(limits.OPERATION_SECONDS + 1):
            assert await dht.get(KEY) == ()


async def test_who_found_no_seed_joins_by_itself_when_one_comes_up(autojump_clock: MockClock, net: MemoryNet) -> None:
    seed = net.host(1)
    seed.dead = True
    async with open_dht(seed.as_host, server=True, validators=VALIDATORS), client(net, 10, seed) as dht:
        assert dht.routing_peers == 0
        seed.dead = False
        await trio.sleep(2 * limits.UPKEEP_SECONDS + limits.DIAL_SECONDS)
        assert dht.routing_peers == 1


async def test_a_failed_server_is_asked_again_and_told_to_others_only_after_it_answered(
    autojump_clock: MockClock, net: MemoryNet
) -> None:
    async with dhts(net, 1, 2) as ((seed, seed_dht), (relay, _)):
        relay.dead = True
        await seed_dht.get(KEY)
        assert seed_dht.servers() == ()
        answer = await ask(net, 20, seed, KadMessage(Kind.FIND_NODE, b"k"))
        assert answer.closer == ()
        relay.dead = False
        await trio.sleep(limits.PEER_RETRY_SECONDS + 2 * limits.UPKEEP_SECONDS)
        assert seed_dht.servers() == (kad_peer(2),)


async def test_fifty_servers_find_a_record_with_forty_percent_of_them_dead(
    autojump_clock: MockClock, net: MemoryNet
) -> None:
    async with dhts(net, *range(1, 51)) as servers, client(net, 100, servers[0][0]) as one:
        assert await one.put(KEY, b"1:a") == limits.BUCKET_PEERS
        for host, _ in servers[1:50:5] + servers[2:50:5]:
            host.dead = True
        async with client(net, 101, servers[0][0]) as two:
            assert await two.get(KEY) == (b"1:a",)


async def test_two_dhts_of_one_process_do_not_know_of_each_other(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    one = MemoryNet(NETWORK, nursery)
    two = MemoryNet(Network("other", bytes(15) + b"\x01", NETWORK.scope), nursery)
    three = MemoryNet(Network("third", b"\x01" + bytes(15), NETWORK.scope), nursery)
    async with dhts(one, 1, 2) as ((_, dht), _), dhts(two, 3) as _, dhts(three, 4) as ((host, other),):
        await dht.put(KEY, b"1:a")
        assert await other.get(KEY) == ()
        assert set(host.handlers) == {"/covey/01000000/kad/1.0.0"}


async def test_a_dht_that_ended_serves_no_more(autojump_clock: MockClock, net: MemoryNet) -> None:
    async with dhts(net, 1) as ((seed, _),):
        stream = await raw_stream(net, 20, seed)
        await settled()
    assert PROTOCOL not in seed.handlers
    await stream.write_frame(encode_message(KadMessage(Kind.PING)), limit=limits.MESSAGE_BYTES)
    with pytest.raises(StreamLost):
        await stream.read_frame(limit=limits.MESSAGE_BYTES)


async def test_an_answer_to_another_question_is_a_violation(autojump_clock: MockClock, net: MemoryNet) -> None:
    async def answer_ping(stream: MemoryStream) -> None:
        await stream.read_frame(limit=limits.MESSAGE_BYTES)
        await stream.write_frame(encode_message(KadMessage(Kind.PING)), limit=limits.MESSAGE_BYTES)

    other, asker = net.host(1), net.host(2)
    other.handle(PROTOCOL, answer_ping)
    with pytest.raises(ProtocolViolation):
        await request(asker.as_host, PROTOCOL, kad_peer(1), KadMessage(Kind.FIND_NODE, b"k"))


async def test_metrics_count_requests_by_type_and_outcome(autojump_clock: MockClock, net: MemoryNet) -> None:
    registry = CollectorRegistry()
    seed = net.host(1)
    async with (
        open_dht(seed.as_host, server=True, validators=VALIDATORS, metrics=DhtMetrics(registry)),
        dhts(net, 2) as ((_, other),),
    ):
        await other.bootstrap(seed.addrs)
        await settled()
        for value in (b"2:a", b"2:a", b"1:a", b"0:a"):
            with trio.move_on_after(1):
                try:
                    await ask(net, 20, seed, KadMessage(Kind.PUT_VALUE, KEY.encode(), value))
                except StreamLost:
                    continue

        def count(kind: str, outcome: str) -> float | None:
            return registry.get_sample_value("covey_dht_requests_total", {"type": kind, "outcome": outcome})

        outcomes = {o: count("put_value", o) for o in ("stored", "refreshed", "stale", "invalid")}
        assert outcomes == {"stored": 1, "refreshed": 1, "stale": 1, "invalid": 1}
        assert count("find_node", "answered")
        assert registry.get_sample_value("covey_dht_records") == 1
        assert registry.get_sample_value("covey_dht_routing_peers") == 1
