"""Records signed ahead over real connections on loopback: who may leave what, and what is published when."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import trio
from nacl.signing import SigningKey
from prometheus_client.exposition import generate_latest

from covey_core.errors import StreamLost
from covey_core.host import kad_limits
from covey_core.identity import Identity
from covey_core.network import Network, RelayEntry, new_network
from covey_core.records import decode_record, encode_record, record_key
from covey_core.wire.ahead import AheadAnswer, AheadOutcome, Leave, begin_of
from covey_relay import limits
from covey_relay.ahead.table import AheadFailed
from covey_relay.limits import AheadLimits
from tests.relay.ahead.conftest import TODAY, Clock, holder, relay_at
from tests.relay.ahead.records import day_record, withdrawal
from tests.relay.conftest import host_on
from tests.support.circuit_client import until

DONE, ADDED = AheadAnswer(AheadOutcome.DONE), AheadAnswer(AheadOutcome.ADDED)
ALICE, BOB = SigningKey(b"a" * 32), SigningKey(b"b" * 32)


@pytest.fixture
def network() -> Network:
    return new_network("test", private=True, subnets=("127.0.0.0/8",))


def key_of(key: SigningKey) -> str:
    return record_key(bytes(key.verify_key))


async def test_a_record_is_published_on_its_day_and_not_before(network: Network, tmp_path: Path) -> None:
    async with relay_at(network, tmp_path / "ahead.db", Clock()) as place, holder(place) as other:
        value = day_record(ALICE, TODAY + 20)
        assert await place.ask(Leave(value)) == ADDED
        for day in (TODAY, TODAY + 10, TODAY + 19):
            place.clock.goes_to(day, 86_399)
            assert await place.ahead.publish_due() == 0
        place.clock.goes_to(TODAY + 20)
        assert await place.ahead.publish_due() == 1
        assert await other.get(key_of(ALICE)) == (value,)
        assert place.counted("covey_ahead_publications_total", outcome="published") == 1
        assert await place.ahead.publish_due() == 0
        place.clock.now += limits.AHEAD_PUBLISH_SECONDS + limits.AHEAD_PUBLISH_SPREAD_SECONDS
        assert await place.ahead.publish_due() == 1
        place.clock.goes_to(TODAY + 21)
        assert await place.ahead.publish_due() == 0
        assert place.counted("covey_ahead_records") == 0


async def test_what_the_owner_published_since_is_left_alone(network: Network, tmp_path: Path) -> None:
    async with relay_at(network, tmp_path / "ahead.db", Clock()) as place, holder(place) as other:
        await place.ask(Leave(day_record(ALICE, TODAY, sequence=5)))
        own = day_record(ALICE, TODAY, sequence=int(place.clock.now))
        assert await other.put(key_of(ALICE), own) > 0
        place.clock.now += limits.AHEAD_PUBLISH_SPREAD_SECONDS
        assert await place.ahead.publish_due() == 0
        assert place.counted("covey_ahead_publications_total", outcome="newer") == 1
        assert await other.get(key_of(ALICE)) == (own,)


async def test_a_relay_that_is_alone_tries_again_soon(network: Network, tmp_path: Path) -> None:
    async with relay_at(network, tmp_path / "ahead.db", Clock()) as place:
        value = day_record(ALICE, TODAY)
        await place.ask(Leave(value))
        place.clock.now += limits.AHEAD_PUBLISH_SPREAD_SECONDS
        assert await place.ahead.publish_due() == 1
        async with holder(place) as other:
            place.clock.now += limits.AHEAD_RETRY_SECONDS
            assert await place.ahead.publish_due() == 1
            assert other.records == 1
            place.clock.now += limits.AHEAD_RETRY_SECONDS
            assert await place.ahead.publish_due() == 0


async def test_a_relay_of_the_network_publishes_for_more_people_than_one_address_has(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kad_limits, "SOURCE_RECORDS", 2)
    identity, keys = Identity.generate(), [SigningKey(bytes([number]) * 32) for number in range(5)]
    known = replace(network, relays=(RelayEntry("us", (f"/ip4/127.0.0.1/tcp/1/p2p/{identity.peer_id}",)),))
    async with relay_at(known, tmp_path / "ahead.db", Clock(), identity=identity) as place, holder(place) as other:
        for key in keys:
            await place.ask(Leave(day_record(key, TODAY)))
        place.clock.now += limits.AHEAD_PUBLISH_SPREAD_SECONDS
        assert await place.ahead.publish_due() == 5
        assert other.records == 5


async def test_a_relay_that_was_killed_has_what_it_took_and_publishes_it(network: Network, tmp_path: Path) -> None:
    identity, clock, value = Identity.generate(), Clock(), day_record(ALICE, TODAY + 3)
    async with relay_at(network, tmp_path / "ahead.db", clock, identity=identity) as place:
        assert await place.ask(Leave(value)) == ADDED
        for suffix in ("", "-wal"):  # what a kill leaves behind
            (tmp_path / f"killed.db{suffix}").write_bytes((tmp_path / f"ahead.db{suffix}").read_bytes())
    clock.goes_to(TODAY + 3)
    async with relay_at(network, tmp_path / "killed.db", clock, identity=identity) as place, holder(place) as other:
        await place.ahead.publish_due()
        assert await other.get(key_of(ALICE)) == (value,)


async def test_a_higher_sequence_replaces_and_a_lower_one_is_told_so(network: Network, tmp_path: Path) -> None:
    async with relay_at(network, tmp_path / "ahead.db", Clock()) as place, holder(place) as other:
        old, new = (day_record(ALICE, TODAY + 1, sequence=number, inside=b"%d" % number) for number in (5, 9))
        assert [await place.ask(Leave(one)) for one in (old, new, new)] == [ADDED, DONE, DONE]
        assert await place.ask(Leave(old)) == AheadAnswer(AheadOutcome.NEWER)
        place.clock.goes_to(TODAY + 1)
        assert await place.ahead.publish_due() == 1
        assert await other.get(key_of(ALICE)) == (new,)


async def test_what_was_withdrawn_is_not_published_and_does_not_come_back(network: Network, tmp_path: Path) -> None:
    async with relay_at(network, tmp_path / "ahead.db", Clock()) as place, holder(place) as other:
        await place.ask(Leave(day_record(ALICE, TODAY + 1, sequence=5)))
        await place.ask(Leave(day_record(BOB, TODAY + 1)))
        assert await place.ask(withdrawal(ALICE, place.host.peer_id, sequence=5)) == DONE
        assert await place.ask(Leave(day_record(ALICE, TODAY + 1, sequence=5))) == AheadAnswer(AheadOutcome.NEWER)
        assert await place.ask(withdrawal(ALICE, place.host.peer_id, sequence=4)) == AheadAnswer(AheadOutcome.NEWER)
        place.clock.goes_to(TODAY + 1)
        assert await place.ahead.publish_due() == 1
        assert await other.get(key_of(ALICE)) == ()
        assert await other.get(key_of(BOB)) != ()


async def test_a_liar_leaves_and_withdraws_nothing_under_anothers_key(network: Network, tmp_path: Path) -> None:
    async with relay_at(network, tmp_path / "ahead.db", Clock()) as place:
        record = decode_record(day_record(ALICE, TODAY + 1, sequence=5))
        assert await place.ask(Leave(encode_record(record))) == ADDED
        stranger = day_record(BOB, TODAY + 1, sequence=99)
        for lie in (
            replace(record, sequence=6),
            replace(record, expires_at=record.expires_at + 86_400),
            replace(decode_record(stranger), day_key=record.day_key),
            decode_record(day_record(ALICE, TODAY + 1, expires_at=begin_of(TODAY + 3) - 1)),
            decode_record(day_record(ALICE, TODAY + 1, sequence=begin_of(TODAY + 1))),
        ):
            with pytest.raises(StreamLost):
                await place.ask(Leave(encode_record(lie)))
        elsewhere = withdrawal(ALICE, Identity.generate().peer_id, sequence=5)
        forged = replace(withdrawal(BOB, place.host.peer_id, sequence=5), day_key=bytes(ALICE.verify_key))
        for request in (elsewhere, forged):
            with pytest.raises(StreamLost):
                await place.ask(request)
        place.clock.goes_to(TODAY + 1)
        assert await place.ahead.publish_due() == 1


@pytest.mark.parametrize("ahead", [-1, 32])
async def test_days_that_are_over_or_too_far_are_refused(network: Network, tmp_path: Path, ahead: int) -> None:
    async with relay_at(network, tmp_path / "ahead.db", Clock()) as place:
        assert await place.ask(Leave(day_record(ALICE, TODAY + ahead))) == AheadAnswer(AheadOutcome.TIME)
        assert place.counted("covey_ahead_requests_total", request="leave", outcome="time") == 1


@pytest.mark.parametrize("payload", [b"", b"\xff" * 60, b"\x0a\x00", b"\x12\x02\x0a\x00", bytes(30_000)])
async def test_what_is_no_request_ends_the_stream_and_nothing_else(
    network: Network, tmp_path: Path, payload: bytes
) -> None:
    async with relay_at(network, tmp_path / "ahead.db", Clock()) as place:
        with pytest.raises(StreamLost):
            await place.ask(payload)
        assert await place.ask(Leave(day_record(ALICE, TODAY + 1))) == ADDED


async def test_a_slow_peer_loses_its_stream(network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "AHEAD_READ_SECONDS", 0.05)
    async with relay_at(network, tmp_path / "ahead.db", Clock()) as place, host_on(network) as client:
        await client.connect(place.host.peer_id, place.host.addrs)
        stream = await client.open_stream(place.host.peer_id, network.protocol("ahead"))
        await stream.write(b"\x80\x10abc")
        with pytest.raises(StreamLost):
            await stream.read_frame(limit=1024)


async def test_one_request_too_many_is_sent_away(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "AHEAD_STREAMS", 2)
    async with relay_at(network, tmp_path / "ahead.db", Clock()) as place, host_on(network) as client:
        await client.connect(place.host.peer_id, place.host.addrs)
        slow = [await client.open_stream(place.host.peer_id, network.protocol("ahead")) for _ in range(2)]
        for stream in slow:
            await stream.write(b"\x80\x10abc")
        await until(lambda: place.ahead._open == 2)
        with pytest.raises(StreamLost):
            await place.ask(Leave(day_record(ALICE, TODAY)))
        for stream in slow:
            await stream.reset()
        await until(lambda: place.ahead._open == 0)
        assert await place.ask(Leave(day_record(ALICE, TODAY))) == ADDED


async def test_one_address_leaves_so_many_new_keys_and_may_still_replace_them(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "AHEAD_NEW_BURST", 3)
    async with relay_at(network, tmp_path / "ahead.db", Clock()) as place:
        keys = [SigningKey(bytes([number]) * 32) for number in range(5)]
        answers = [await place.ask(Leave(day_record(key, TODAY + 1))) for key in keys]
        assert answers[:3] == [ADDED] * 3
        assert {one.outcome for one in answers[3:]} == {AheadOutcome.BUSY}
        assert all(0 < one.retry_after <= 86_400 for one in answers[3:])
        assert await place.ask(Leave(day_record(keys[0], TODAY + 1, sequence=2))) == DONE
        assert place.counted("covey_ahead_records") == 3


async def test_one_peer_asks_only_so_often(network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "AHEAD_BURST", 2)
    async with relay_at(network, tmp_path / "ahead.db", Clock()) as place, host_on(network) as client:
        request = withdrawal(ALICE, place.host.peer_id)
        outcomes = [(await place.ask(request, client=client)).outcome for _ in range(3)]
        assert outcomes == [AheadOutcome.DONE, AheadOutcome.DONE, AheadOutcome.BUSY]


async def test_a_full_room_refuses_new_keys(network: Network, tmp_path: Path) -> None:
    async with relay_at(network, tmp_path / "ahead.db", Clock(), bounds=AheadLimits(records=1)) as place:
        assert await place.ask(Leave(day_record(ALICE, TODAY + 1))) == ADDED
        assert await place.ask(Leave(day_record(BOB, TODAY + 1))) == AheadAnswer(AheadOutcome.FULL)


async def test_a_disk_that_fails_makes_everybody_come_back_later(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with relay_at(network, tmp_path / "ahead.db", Clock()) as place:

        def fails(*_: object, **__: object) -> None:
            raise AheadFailed("no space left")

        with monkeypatch.context() as broken:
            broken.setattr(place.ahead._table, "leave", fails)
            assert await place.ask(Leave(day_record(ALICE, TODAY))) == AheadAnswer(AheadOutcome.BUSY, 60)
        assert await place.ask(Leave(day_record(ALICE, TODAY))) == ADDED


async def test_nobody_who_left_a_record_stands_in_the_metrics_or_the_file(network: Network, tmp_path: Path) -> None:
    async with relay_at(network, tmp_path / "ahead.db", Clock()) as place, host_on(network) as client:
        await place.ask(Leave(day_record(ALICE, TODAY + 1)), client=client)
        seen = generate_latest(place.registry) + _files(tmp_path)
        for trace in (client.peer_id, "127.0.0.1"):
            assert trace.encode() not in seen


async def test_two_hundred_leave_records_at_once(network: Network, tmp_path: Path) -> None:
    async with relay_at(network, tmp_path / "ahead.db", Clock()) as place:
        clients = []
        async with trio.open_nursery() as hosts:

            async def keep(task_status: trio.TaskStatus[object] = trio.TASK_STATUS_IGNORED) -> None:
                async with host_on(network) as client:
                    clients.append(client)
                    task_status.started()
                    await trio.sleep_forever()

            for _ in range(5):
                await hosts.start(keep)
            answers = []

            async def leave(number: int) -> None:
                key = SigningKey(number.to_bytes(32, "big"))
                answers.append(await place.ask(Leave(day_record(key, TODAY + number % 30)), client=clients[number % 5]))

            async with trio.open_nursery() as nursery:
                for number in range(200):
                    nursery.start_soon(leave, number)
            hosts.cancel_scope.cancel()
        assert answers == [ADDED] * 200
        assert place.counted("covey_ahead_records") == 200


def _files(folder: Path) -> bytes:
    return b"".join(one.read_bytes() for one in folder.iterdir())
