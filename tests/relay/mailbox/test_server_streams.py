"""What a peer can do to a mailbox stream, and that it harms nobody else."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
import trio.testing

from covey_core.errors import FileDamaged, StreamLost
from covey_core.host import Host
from covey_core.limits import MAILBOX_REQUEST_BYTES
from covey_core.network import Network
from covey_core.wire import mailbox as m
from covey_core.wire.framing import encode_frame
from covey_core.wire.mailbox_codec import encode_command, encode_request
from covey_core.wire.pb import mailbox_pb2 as pb
from covey_relay import limits
from covey_relay.limits import MailboxLimits
from covey_relay.mailbox.operations import FindWritten, Operation, Outcome, StoreFailed, Usage
from covey_relay.mailbox.sqlite import SqliteStore
from tests.relay.mailbox.world import MailboxRelay, mailbox_relay
from tests.support.circuit_client import until
from tests.support.mailbox_client import BLOB, MailboxClient, key, mid, verify_key

DAY = 86_400
WRITER = m.AdmitKey(verify_key("alice"))
AUTH = m.Refused(m.Reason.AUTH)


async def is_over(client: MailboxClient) -> bool:
    """Whether the relay has reset the stream, after whatever it still answers."""
    try:
        with trio.fail_after(20):
            while await client.read() is not None:
                pass
    except StreamLost:
        return True
    return False


async def works(relay: MailboxRelay, name: str = "carol") -> bool:
    """Whether somebody else is served as if nothing were."""
    other = await relay.client()
    ids = await other.new(name, WRITER)
    return await other.ask(m.Put(ids.send_id, mid(1), DAY, BLOB), key("alice")) == m.Stored(1)


# --- the order of a stream --------------------------------------------------------------------------------------------


async def test_the_relay_speaks_first_and_its_nonce_is_new_on_every_stream(public: Network, tmp_path: Path) -> None:
    async with mailbox_relay(public, tmp_path / "m.db") as relay:
        clients = [await relay.client() for _ in range(3)]
        assert len({one.hello.nonce for one in clients}) == 3
        assert {one.hello.time for one in clients} == {int(relay.clock())}


@pytest.mark.parametrize("second", [5, 4, 1])
async def test_an_id_that_does_not_ascend_ends_the_stream_and_no_other(
    public: Network, tmp_path: Path, second: int
) -> None:
    async with mailbox_relay(public, tmp_path / "m.db") as relay:
        host = await relay.dialer()
        mallory, beside = await relay.open(host), await relay.open(host)
        command = m.Work(bytes(24), m.Purpose.PUT)
        await mallory.stream.write(mallory.signed(command, None, 5) + mallory.signed(command, None, second))
        assert await is_over(mallory)
        assert isinstance(await beside.ask(command), m.Challenge)


async def test_ids_may_leave_gaps(public: Network, tmp_path: Path) -> None:
    async with mailbox_relay(public, tmp_path / "m.db") as relay:
        alice = await relay.client()
        for request_id in (3, 2**40, 2**63 - 1):
            await alice.stream.write(alice.signed(m.Work(bytes(24), m.Purpose.PUT), None, request_id))
            assert isinstance(await alice.answer(request_id), m.Challenge)


def broken_frames() -> dict[str, bytes]:
    body = encode_command(m.Get(bytes(24), 0, 1))
    good = encode_request(1, body, bytes(64))
    whole = pb.Request.FromString(good)
    return {
        "no protobuf": b"\xff" * 40,
        "empty": b"",
        "no command": pb.Request(id=1).SerializeToString(),
        "an id of 0": pb.Request(id=0, command=body).SerializeToString(),
        "an id too large": pb.Request(id=2**63, command=body).SerializeToString(),
        "a short signature": pb.Request(id=1, command=body, signature=bytes(63)).SerializeToString(),
        "a command of no kind": pb.Request(id=1, command=b"\xf8\x07\x01").SerializeToString(),
        "a short queue id": pb.Request(
            id=1, command=pb.Command(get=pb.Get(recv_id=bytes(23), max=1)).SerializeToString()
        ).SerializeToString(),
        "a page of none": pb.Request(
            id=1, command=pb.Command(get=pb.Get(recv_id=bytes(24), max=0)).SerializeToString()
        ).SerializeToString(),
        "a blob of another size": pb.Request(
            id=1,
            command=pb.Command(
                put=pb.Put(send_id=bytes(24), mid=bytes(16), ttl=1, blob=bytes(4_096))
            ).SerializeToString(),
        ).SerializeToString(),
        "cut": whole.SerializeToString()[:-70],
    }


@pytest.mark.parametrize("kind", broken_frames())
async def test_a_malformed_frame_ends_its_stream_and_no_other(public: Network, tmp_path: Path, kind: str) -> None:
    async with mailbox_relay(public, tmp_path / "m.db") as relay:
        mallory = await relay.client()
        await mallory.stream.write(encode_frame(broken_frames()[kind], limit=MAILBOX_REQUEST_BYTES))
        assert await is_over(mallory)
        assert await works(relay)


async def test_a_frame_that_is_announced_too_long_ends_the_stream_before_it_came(
    public: Network, tmp_path: Path
) -> None:
    async with mailbox_relay(public, tmp_path / "m.db") as relay:
        mallory = await relay.client()
        size = MAILBOX_REQUEST_BYTES + 1
        await mallory.stream.write(encode_frame(bytes(size), limit=size)[:8])
        assert await is_over(mallory)


async def test_any_bytes_end_a_stream_or_wait_for_more(public: Network, tmp_path: Path) -> None:
    async with mailbox_relay(public, tmp_path / "m.db", peer_burst=1e6) as relay:
        host = await relay.dialer()
        for length in (1, 2, 3, 9, 40, 300, 70_000, 200_000):
            mallory = await relay.open(host)
            try:
                await mallory.stream.write(secrets.token_bytes(length))
                await mallory.stream.close_write()
                with trio.fail_after(20):
                    while await mallory.read() is not None:
                        pass
            except StreamLost:
                pass
        assert await works(relay)


# --- much at once -----------------------------------------------------------------------------------------------------


async def test_answers_on_one_queue_come_in_the_order_of_the_commands(public: Network, tmp_path: Path) -> None:
    async with mailbox_relay(public, tmp_path / "m.db") as relay:
        alice = await relay.client()
        ids = await alice.new("bob", WRITER)
        frames, first = b"", alice.last_id + 1
        for number in range(100):
            frames += alice.signed(m.Put(ids.send_id, mid(number), DAY, BLOB), key("alice"))
            frames += alice.signed(m.Get(ids.recv_id, number, 1), key("bob"))
            frames += alice.signed(m.Ack(ids.recv_id, (mid(number),)), key("bob"))
            frames += alice.signed(m.Have(ids.send_id, (mid(number + 1), mid(number))), key("alice"))
        await write_all(alice, frames)
        seen = []
        for _ in range(400):
            said = await alice.read()
            assert said is not None
            seen.append(said)
        assert [one.id for one in seen] == list(range(first, first + 400))
        for number in range(100):
            stored, got, acked, held = (one.answer for one in seen[4 * number : 4 * number + 4])
            assert stored == m.Stored(number + 1)
            assert got == m.Messages((m.StoredMessage(number + 1, mid(number), BLOB),))
            assert acked == m.Done()
            assert held == m.Held((mid(number),))


async def write_all(client: MailboxClient, data: bytes) -> None:
    """Write although nothing is read meanwhile: what the relay does not take is written by a task that waits."""
    for start in range(0, len(data), 1 << 16):
        await client.stream.write(data[start : start + (1 << 16)])


async def test_ten_thousand_requests_at_once_are_all_answered_in_order_and_others_are_served_meanwhile(
    public: Network, tmp_path: Path
) -> None:
    async with mailbox_relay(public, tmp_path / "m.db", peer_burst=100_000.0) as relay:
        mallory = await relay.client()
        ids = await mallory.new("bob", WRITER)
        have, first = m.Have(ids.send_id, (mid(1),)), mallory.last_id + 1
        frames = b"".join(mallory.signed(have, key("alice")) for _ in range(10_000))
        seen: list[int] = []

        async def read() -> None:
            for _ in range(10_000):
                said = await mallory.read()
                assert said is not None
                assert said.answer == m.Held(())
                seen.append(said.id)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            nursery.start_soon(write_all, mallory, frames)
            assert await works(relay)
        assert seen == list(range(first, first + 10_000))


async def test_who_asks_faster_than_his_pace_is_read_slower_and_costs_little(public: Network, tmp_path: Path) -> None:
    waits: list[float] = []
    async with mailbox_relay(public, tmp_path / "m.db", peer_rate=100.0, peer_burst=50.0) as relay:
        reception = relay.office._reception
        plain = reception.wait_seconds

        def noting(*args: object, **kwargs: object) -> float:
            waits.append(plain(*args, **kwargs))
            return waits[-1]

        reception.wait_seconds = noting
        mallory = await relay.client()
        have = m.Have(bytes(24), (mid(1),))
        await mallory.stream.write(b"".join(mallory.signed(have, key("alice")) for _ in range(150)))
        assert [await mallory.answer(number) for number in range(1, 151)] == [AUTH] * 150
    assert sum(wait == 0.0 for wait in waits) == 150
    assert any(0.0 < wait <= 0.01 for wait in waits)  # a hundred beyond what may come at once


async def test_who_writes_and_does_not_read_is_read_no_more_and_ends(
    public: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAILBOX_WRITE_SECONDS", 0.5)
    async with mailbox_relay(public, tmp_path / "m.db", peer_burst=1e6) as relay:
        mallory = await relay.client()
        ids = await mallory.new("bob", WRITER)
        for number in range(60):
            await mallory.ask(m.Put(ids.send_id, mid(number), DAY, BLOB), key("alice"))
        page = m.Get(ids.recv_id, 0, 1024)
        with pytest.raises(StreamLost):
            await write_all(mallory, b"".join(mallory.signed(page, key("bob")) for _ in range(20_000)))
        # what it was let write before: the relay's bound, its own receive buffers and what lies in sockets
        fetched = relay.sample("covey_mailbox_events_total", event="delivered") / 60
        assert fetched <= limits.MAILBOX_UNANSWERED
        assert await works(relay)


async def test_no_more_is_read_than_may_be_unanswered(public: Network, tmp_path: Path) -> None:
    gate = trio.Event()
    asked: list[int] = []
    async with mailbox_relay(public, tmp_path / "m.db", peer_burst=1e6) as relay:
        alice = await relay.client()
        office = relay.office
        plain = office.receive

        def receive(request: m.Request, *args: object, **kwargs: object) -> object:
            asked.append(request.id)
            return plain(request, *args, **kwargs)

        async def wait(cases: Sequence[object]) -> None:
            await gate.wait()
            await run_round(cases)

        run_round, office.run_round, office.receive = office.run_round, wait, receive
        frames = b"".join(alice.signed(m.Work(bytes(24), m.Purpose.PUT), None) for _ in range(1_000))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write_all, alice, frames)
            await until(lambda: len(asked) == limits.MAILBOX_UNANSWERED)
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert len(asked) == limits.MAILBOX_UNANSWERED
            gate.set()
            for _ in range(1_000):
                await alice.read()
        assert len(asked) == 1_000


async def test_slow_readers_of_one_address_have_few_pages_in_memory(public: Network, tmp_path: Path) -> None:
    async with mailbox_relay(public, tmp_path / "m.db", peer_burst=1e6) as relay:
        relay.office.turns._of_address = 2
        bob = await relay.client()
        ids = await bob.new("bob", WRITER)
        for number in range(60):
            await bob.ask(m.Put(ids.send_id, mid(number), DAY, BLOB), key("alice"))
        stalled = [await relay.client() for _ in range(6)]
        for one in stalled:
            page = m.Get(ids.recv_id, 0, 1024)
            await one.stream.write(b"".join(one.signed(page, key("bob")) for _ in range(50)))
        most = 2 * limits.MAILBOX_ROUND_PAGES * 60
        await until(lambda: relay.sample("covey_mailbox_events_total", event="delivered") == most)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert relay.sample("covey_mailbox_events_total", event="delivered") == most
        for one in stalled:
            await one.stream.reset()
        got = await bob.ask(m.Get(ids.recv_id, 0, 1), key("bob"))  # who waited for a turn gets it
        assert isinstance(got, m.Messages)
        await until(lambda: len(relay.office.turns) == 0)


# --- the end of a stream ----------------------------------------------------------------------------------------------


async def test_a_stream_without_a_subscription_ends_when_nothing_is_asked(
    public: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAILBOX_STREAM_IDLE_SECONDS", 0.2)
    async with mailbox_relay(public, tmp_path / "m.db") as relay:
        idle, subscribed = await relay.client(), await relay.client()
        ids = await subscribed.new("bob", WRITER)
        assert await subscribed.ask(m.Sub(ids.recv_id, 0), key("bob")) == m.Done()
        with trio.fail_after(20):
            assert await idle.read() is None
        alice = await relay.client()
        await alice.ask(m.Put(ids.send_id, mid(1), DAY, BLOB), key("alice"))
        assert (await subscribed.next_push()).answer == m.Messages((m.StoredMessage(1, mid(1), BLOB),))
        assert await (await relay.client()).ask(m.Sub(ids.recv_id, 0), key("bob")) == m.Done()  # takes it away
        with trio.fail_after(20):
            assert await subscribed.read() is None


async def test_what_was_asked_before_the_client_ended_its_side_is_answered(public: Network, tmp_path: Path) -> None:
    async with mailbox_relay(public, tmp_path / "m.db") as relay:
        alice = await relay.client()
        ids = await alice.new("bob", WRITER)
        asked = [await alice.send(m.Put(ids.send_id, mid(n), DAY, BLOB), key("alice")) for n in range(20)]
        asked.append(await alice.send(m.Sub(ids.recv_id, 0), key("bob")))
        await alice.stream.close_write()
        answers = [await alice.answer(one) for one in asked]
        assert answers == [m.Stored(n) for n in range(1, 21)] + [m.Done()]
        assert await alice.read() is None
        assert relay.service.subscriptions == 0


async def test_a_stream_that_is_reset_in_the_middle_of_puts_leaves_a_relay_that_works(
    public: Network, tmp_path: Path
) -> None:
    async with mailbox_relay(public, tmp_path / "m.db", queue_messages=100_000) as relay:
        bob = await relay.client()
        ids = await bob.new("bob", WRITER)
        for life in range(20):
            alice = await relay.client()
            numbers = range(life * 40, life * 40 + 40)
            frames = b"".join(alice.signed(m.Put(ids.send_id, mid(n), DAY, BLOB), key("alice")) for n in numbers)
            await alice.stream.write(frames[: len(frames) - 1_000 * life])
            answered = [await alice.read() for _ in range(life % 5)]
            assert all(one is not None for one in answered)
            await alice.stream.reset()
        alice = await relay.client()
        for number in range(800):  # whatever was done: nothing is there twice, everything can be done again
            await alice.send(m.Put(ids.send_id, mid(number), DAY, BLOB), key("alice"))
        seqs = set()
        for asked in range(1, 801):
            stored = await alice.answer(asked)
            assert isinstance(stored, m.Stored)
            seqs.add(stored.seq)
        assert seqs == set(range(1, 801))


async def test_a_reset_stream_ends_its_subscriptions(public: Network, tmp_path: Path) -> None:
    async with mailbox_relay(public, tmp_path / "m.db") as relay:
        bob = await relay.client()
        ids = await bob.new("bob", WRITER)
        await bob.ask(m.Sub(ids.recv_id, 0), key("bob"))
        assert relay.service.subscriptions == 1
        await bob.stream.reset()
        await until(lambda: relay.service.subscriptions == 0)
        assert await works(relay)


async def test_the_service_ends_all_streams_when_it_closes(public: Network, tmp_path: Path) -> None:
    async with mailbox_relay(public, tmp_path / "m.db") as relay:
        bob = await relay.client()
        ids = await bob.new("bob", WRITER)
        await bob.ask(m.Sub(ids.recv_id, 0), key("bob"))
        await relay.service.drain()
        assert await is_over(bob)


# --- how many streams -------------------------------------------------------------------------------------------------


async def test_a_peer_has_eight_streams_and_an_address_a_bounded_number(
    public: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAILBOX_STREAMS_PER_ADDRESS", 12)
    async with mailbox_relay(public, tmp_path / "m.db") as relay:
        first, second = await relay.dialer(), await relay.dialer()
        clients = [await relay.open(first) for _ in range(limits.MAILBOX_STREAMS_PER_PEER)]
        assert await is_refused(relay, first)
        clients += [await relay.open(second) for _ in range(4)]
        assert await is_refused(relay, second)
        await clients[0].stream.reset()
        with trio.fail_after(20):
            while await is_refused(relay, first):
                await trio.lowlevel.checkpoint()


async def is_refused(relay: MailboxRelay, host: Host) -> bool:
    try:
        await relay.open(host)
    except (StreamLost, AssertionError):
        return True
    return False


# --- a store that fails -----------------------------------------------------------------------------------------------


class Failing(SqliteStore):
    """A store that fails for a while."""

    error: StoreFailed | FileDamaged | None = None
    reads = False  # whether what changes nothing is done nevertheless

    def apply(self, operations: Sequence[Operation], *, now: int) -> list[Outcome]:
        if self.error is not None and not (self.reads and all(isinstance(one, FindWritten) for one in operations)):
            raise self.error
        return super().apply(operations, now=now)

    def usage(self) -> Usage:
        if self.error is not None:
            raise self.error
        return super().usage()


@pytest.mark.parametrize("error", [StoreFailed("no disk"), FileDamaged("m.db", "damaged", "look")])
async def test_while_the_store_fails_everything_is_busy_and_afterwards_nothing_is_lost(
    public: Network, tmp_path: Path, error: StoreFailed | FileDamaged
) -> None:
    stores: list[Failing] = []

    def made() -> Failing:
        stores.append(Failing(tmp_path / "m.db", MailboxLimits()))
        return stores[0]

    async with mailbox_relay(public, made) as relay:
        bob, alice = await relay.client(), await relay.client()
        ids = await bob.new("bob", WRITER)
        contact = await bob.new("contact", m.AdmitWork(0))
        await bob.ask(m.Sub(ids.recv_id, 0), key("bob"))
        proof = await alice.work(contact.send_id, m.Purpose.PUT, mid(5))
        busy = m.Refused(m.Reason.BUSY, limits.MAILBOX_FAILED_RETRY_SECONDS)
        stores[0].error = error
        put, first = m.Put(ids.send_id, mid(1), DAY, BLOB), m.Put(contact.send_id, mid(5), DAY, BLOB, proof)
        assert await alice.ask(put, key("alice")) == busy
        assert await alice.ask(first) == busy
        assert await bob.ask(m.Get(ids.recv_id, 0, 1), key("bob")) == busy
        assert await bob.ask(m.New(verify_key("dave"), WRITER), key("dave")) == busy
        stores[0].reads = True
        assert await alice.ask(first) == busy  # judged, and then not done
        await relay.service.sweep()
        stores[0].error = None
        assert await alice.ask(put, key("alice")) == m.Stored(1)
        assert await alice.ask(first) == m.Stored(1)  # the work was not used up
        assert (await bob.next_push()).answer == m.Messages((m.StoredMessage(1, mid(1), BLOB),))


async def test_a_push_that_the_store_could_not_bring_comes_when_it_works_again(public: Network, tmp_path: Path) -> None:
    stores: list[Failing] = []

    def made() -> Failing:
        stores.append(Failing(tmp_path / "m.db", MailboxLimits()))
        return stores[0]

    async with mailbox_relay(public, made) as relay:
        bob, alice = await relay.client(), await relay.client()
        ids = await bob.new("bob", WRITER)
        await bob.ask(m.Sub(ids.recv_id, 0), key("bob"))
        fetch, fetched = relay.office.fetch, []

        async def failing(due: Sequence[object]) -> object:
            stores[0].error = StoreFailed("no disk")
            fetched.append(len(due))
            return await fetch(due)

        relay.office.fetch = failing
        assert await alice.ask(m.Put(ids.send_id, mid(1), DAY, BLOB), key("alice")) == m.Stored(1)
        await until(lambda: bool(fetched))
        relay.office.fetch = fetch
        stores[0].error = None
        await relay.service.sweep()
        assert (await bob.next_push()).answer == m.Messages((m.StoredMessage(1, mid(1), BLOB),))
