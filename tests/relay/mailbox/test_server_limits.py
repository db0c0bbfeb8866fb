"""The pace of peers and addresses, the disk, and what goes by itself."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import trio
from prometheus_client.exposition import generate_latest

from covey_core.errors import StreamLost, Unreachable
from covey_core.network import Network, new_network
from covey_core.wire import mailbox as m
from covey_core.wire.circuit import Status
from covey_relay import limits
from covey_relay.mailbox.operations import Usage
from tests.relay.conftest import host_on, relay_on
from tests.relay.mailbox.world import mailbox_relay
from tests.support.circuit_client import accepting, dial, reserve, until
from tests.support.mailbox_client import BLOB, MailboxClient, key, mid, verify_key

DAY = 86_400
WRITER = m.AdmitKey(verify_key("alice"))
FULL = m.Refused(m.Reason.BUSY, limits.MAILBOX_FULL_RETRY_SECONDS)


def is_busy(answer: m.Answer) -> bool:
    return isinstance(answer, m.Refused) and answer.reason is m.Reason.BUSY and answer.retry_after_seconds >= 1


# --- pace -------------------------------------------------------------------------------------------------------------


async def test_a_peer_asks_at_its_pace_and_its_address_at_five_times_that(public: Network, tmp_path: Path) -> None:
    async with mailbox_relay(public, tmp_path / "m.db", peer_rate=0.001, peer_burst=10.0) as relay:
        busy = []
        for _ in range(6):
            client = await relay.client()
            asked = [await client.send(m.Have(bytes(24), (mid(1),))) for _ in range(12)]
            busy.append([is_busy(await client.answer(one)) for one in asked])
        assert busy[:5] == [[False] * 10 + [True] * 2] * 5
        assert busy[5] == [True] * 12  # another PeerId, the same address


async def test_a_peer_makes_queues_at_a_slower_pace(public: Network, tmp_path: Path) -> None:
    async with mailbox_relay(public, tmp_path / "m.db") as relay:
        mallory, bob = await relay.client(), await relay.client()
        answers = [await mallory.ask(m.New(verify_key(f"{n}"), WRITER), key(f"{n}")) for n in range(122)]
        assert all(isinstance(one, m.Ids) for one in answers[: limits.MAILBOX_NEW_BURST])
        assert all(is_busy(one) for one in answers[limits.MAILBOX_NEW_BURST :])
        assert isinstance(await bob.ask(m.New(verify_key("bob"), WRITER), key("bob")), m.Ids)


async def test_a_relay_that_has_as_many_queues_as_may_be_makes_no_more(public: Network, tmp_path: Path) -> None:
    async with mailbox_relay(public, tmp_path / "m.db", queues=2) as relay:
        bob = await relay.client()
        ids = await bob.new("1", WRITER)
        await bob.new("2", WRITER)
        assert await bob.ask(m.New(verify_key("3"), WRITER), key("3")) == FULL
        assert await bob.new("1", WRITER) == ids
        assert await bob.ask(m.Del(ids.recv_id), key("1")) == m.Done()
        assert isinstance(await bob.ask(m.New(verify_key("3"), WRITER), key("3")), m.Ids)


async def test_a_forged_new_uses_up_nothing(public: Network, tmp_path: Path) -> None:
    async with mailbox_relay(public, tmp_path / "m.db") as relay:
        mallory = await relay.client()
        for number in range(limits.MAILBOX_NEW_BURST + 10):
            await mallory.send(m.New(verify_key(f"{number}"), WRITER), key("mallory"))
        await mallory.answer(limits.MAILBOX_NEW_BURST + 10)
        assert isinstance(await mallory.ask(m.New(verify_key("m"), WRITER), key("m")), m.Ids)


async def test_strangers_of_one_address_share_a_pace_at_contact_queues(public: Network, tmp_path: Path) -> None:
    async with mailbox_relay(public, tmp_path / "m.db") as relay:
        bob, first, second = await relay.client(), await relay.client(), await relay.client()
        contact, established = await bob.new("contact", m.AdmitOpen()), await bob.new("bob", WRITER)
        half = limits.MAILBOX_STRANGER_BURST // 2
        for client, numbers in ((first, range(half)), (second, range(half, 2 * half))):
            for number in numbers:
                assert await client.ask(m.Put(contact.send_id, mid(number), DAY, BLOB)) == m.Stored(number + 1)
        answers = [await second.ask(m.Put(contact.send_id, mid(number), DAY, BLOB)) for number in range(900, 910)]
        assert is_busy(answers[-1])
        assert is_busy(await first.ask(m.Take(contact.send_id, mid(1))))
        assert is_busy(await first.ask(m.Work(contact.send_id, m.Purpose.PUT)))
        # whether there is a queue is not to be seen by that
        assert await first.ask(m.Take(bytes(24), mid(1))) == m.Refused(m.Reason.AUTH)
        # and contacts are not held up
        assert await first.ask(m.Put(established.send_id, mid(1), DAY, BLOB), key("alice")) == m.Stored(1)


async def test_a_stream_hears_of_a_bounded_number_of_queues(
    public: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAILBOX_SUBSCRIPTIONS", 3)
    async with mailbox_relay(public, tmp_path / "m.db") as relay:
        bob = await relay.client()
        queues = [await bob.new(f"{number}", WRITER) for number in range(5)]
        answers = [await bob.ask(m.Sub(ids.recv_id, 0), key(f"{n}")) for n, ids in enumerate(queues)]
        assert answers == [m.Done()] * 3 + [FULL] * 2
        assert await bob.ask(m.Sub(queues[0].recv_id, 0), key("0")) in (m.Done(), FULL)
        assert relay.service.subscriptions == 3


# --- disk -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("percent", "refused"),
    [
        (84, set[str]()),
        (86, {"new"}),
        (91, {"new", "contact", "keys"}),
        (96, {"new", "contact", "keys", "forwarded"}),
        (100, {"new", "contact", "keys", "forwarded", "established"}),
    ],
)
async def test_as_the_disk_fills_new_queues_are_refused_first_and_contacts_last(
    public: Network, tmp_path: Path, percent: int, refused: set[str]
) -> None:
    cap = 1 << 30
    async with (
        mailbox_relay(public, tmp_path / "m.db", disk_bytes=cap) as relay,
        mailbox_relay(public, tmp_path / "near.db", knows=[relay.host]) as near,
    ):
        bob, alice = await relay.client(), await near.client()
        contact, established = await bob.new("contact", m.AdmitOpen()), await bob.new("bob", WRITER)
        put = m.Put(established.send_id, mid(1), DAY, BLOB)
        assert await bob.ask(put, key("alice")) == m.Stored(1)
        hello = await alice.hello_of(relay.host.peer_id)
        relay.service._disk.measured(Usage(cap * percent // 100, 2, 1, None), now=trio.current_time() + 1_000)
        asked = {
            "new": await bob.ask(m.New(verify_key("carol"), WRITER), key("carol")),
            "contact": await bob.ask(m.Put(contact.send_id, mid(2), DAY, BLOB)),
            "keys": await bob.ask(m.Stock(contact.recv_id, (b"key",), b"bundle"), key("contact")),
            "forwarded": await alice.forwarded(
                relay.host.peer_id, hello, m.Put(established.send_id, mid(3), DAY, BLOB), key("alice")
            ),
            "established": await bob.ask(m.Put(established.send_id, mid(4), DAY, BLOB), key("alice")),
        }
        assert {name for name, answer in asked.items() if answer == FULL} == refused
        assert await bob.ask(put, key("alice")) == m.Stored(1)  # what lies there may be asked for again
        assert await bob.ask(m.Ack(established.recv_id, (mid(1),)), key("bob")) == m.Done()
        assert relay.sample("covey_mailbox_events_total", event="disk") == len(refused)


async def test_a_disk_of_a_megabyte_is_never_exceeded_and_serves_again_after_expiry(
    public: Network, tmp_path: Path
) -> None:
    async with mailbox_relay(public, tmp_path / "m.db", disk_bytes=1 << 20) as relay:
        bob, alice = await relay.client(), await relay.client()
        ids = await bob.new("bob", WRITER)
        number, answer = 0, None
        while not is_busy(answer := await alice.ask(m.Put(ids.send_id, mid(number), DAY, BLOB), key("alice"))):
            assert answer == m.Stored(number + 1)
            number += 1
            assert number < 300
        assert number > 120
        assert size_of(tmp_path / "m.db") <= 1 << 20
        relay.clock.now += 2 * DAY
        await relay.service.sweep()
        assert relay.sample("covey_mailbox_events_total", event="expired") == number
        assert relay.service.disk_ratio < 0.3
        assert size_of(tmp_path / "m.db") < 300_000  # given back to the system
        assert isinstance(await alice.ask(m.Put(ids.send_id, mid(999), DAY, BLOB), key("alice")), m.Stored)


def size_of(path: Path) -> int:
    """What the database takes, with what lies in its log."""
    with closing(sqlite3.connect(path)) as raw:
        return int(raw.execute("PRAGMA page_count").fetchone()[0]) * int(raw.execute("PRAGMA page_size").fetchone()[0])


async def test_an_idle_queue_goes_and_with_it_who_heard_of_it(public: Network, tmp_path: Path) -> None:
    async with mailbox_relay(public, tmp_path / "m.db") as relay:
        bob, mallory = await relay.client(), await relay.client()
        ids = await bob.new("bob", WRITER)
        await bob.ask(m.Put(ids.send_id, mid(1), DAY, BLOB), key("alice"))
        await bob.ask(m.Sub(ids.recv_id, 0), key("bob"))
        await bob.next_push()  # the last that its owner heard
        relay.clock.now += limits.MAILBOX_IDLE_SECONDS
        await mallory.ask(m.Get(ids.recv_id, 0, 1), key("mallory"))  # keeps nothing alive
        relay.clock.now += 2 * DAY
        await relay.service.sweep()
        assert await bob.ask(m.Get(ids.recv_id, 0, 1), key("bob")) == m.Refused(m.Reason.AUTH)
        await until(lambda: relay.service.subscriptions == 0)


# --- what is told -----------------------------------------------------------------------------------------------------


async def test_metrics_and_log_count_and_name_nobody(
    public: Network, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with mailbox_relay(public, tmp_path / "m.db") as relay:
        bob, alice = await relay.client(), await relay.client()
        ids = await bob.new("bob", WRITER)
        await bob.ask(m.Sub(ids.recv_id, 0), key("bob"))
        for number in (1, 2):
            await alice.ask(m.Put(ids.send_id, mid(number), 10 * DAY, BLOB), key("alice"))
            await bob.next_push()
        await bob.ask(m.Ack(ids.recv_id, (mid(1), mid(7))), key("bob"))
        relay.clock.now += DAY
        await relay.service.sweep()
        events = {
            event: relay.sample("covey_mailbox_events_total", event=event)
            for event in ("stored", "delivered", "acked", "expired", "quota", "disk", "pow_rejected")
        }
        assert events == {"stored": 2, "delivered": 2, "acked": 1} | dict.fromkeys(
            ("expired", "quota", "disk", "pow_rejected"), 0
        )
        assert relay.sample("covey_mailbox_queues") == 1
        assert relay.sample("covey_mailbox_bytes") > 4_112
        assert relay.sample("covey_mailbox_subscriptions") == 1
        waited = 21 * DAY - 10 * DAY + DAY
        assert waited - 3_600 <= relay.sample("covey_mailbox_oldest_seconds") <= waited
        assert relay.sample("covey_mailbox_request_seconds_count", op="put") == 2
        text = generate_latest(relay.registry).decode()
        peers = [one.peer_id for one in (relay.host, *relay.dialers)]
    told = text + "".join(capfd.readouterr())
    for secret in (*peers, *(one[-6:] for one in peers), ids.recv_id.hex(), ids.send_id.hex(), "127.0.0.1"):
        assert secret not in told


# --- who comes how ----------------------------------------------------------------------------------------------------


async def test_nobody_comes_to_mailboxes_of_a_private_network_without_its_key(tmp_path: Path) -> None:
    home = new_network("home", private=True, subnets=("127.0.0.0/8",))
    other = Network(home.name, home.id, home.scope, key=bytes(32))
    async with mailbox_relay(home, tmp_path / "m.db") as relay:
        assert isinstance(await (await relay.client()).new("bob", WRITER), m.Ids)  # a PeerId that nobody knows
        async with host_on(other) as stranger:
            with pytest.raises(Unreachable):
                await stranger.connect(relay.host.peer_id, relay.host.addrs)
            with pytest.raises(Unreachable):
                await relay.open(stranger)


async def test_who_comes_through_one_circuit_relay_shares_an_addresss_limits(
    public: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAILBOX_STREAMS_PER_ADDRESS", 2)
    async with mailbox_relay(public, tmp_path / "m.db") as relay, relay_on(public) as between:
        await relay.host.connect(between.host.peer_id, between.host.addrs)
        assert (await reserve(relay.host, between.host)).status is Status.OK
        async with accepting(relay.host) as acceptor, trio.open_nursery() as nursery:
            clients = []
            for _ in range(3):

                async def accept() -> None:
                    _, stream = await acceptor.next()
                    await relay.host.adopt_circuit(stream, peer=None, dialer=False, relay=between.host.peer_id)

                nursery.start_soon(accept)
                far = await between.client()
                answer, stream = await dial(far, between.host, relay.host.peer_id)
                assert answer.status is Status.OK
                await far.adopt_circuit(stream, peer=relay.host.peer_id, dialer=True, relay=between.host.peer_id)
                clients.append(far)
            first = await relay.open(clients[0])
            assert isinstance(await first.new("bob", WRITER), m.Ids)
            assert first.stream.relayed
            await relay.open(clients[1])
            with pytest.raises((StreamLost, AssertionError)):
                await relay.open(clients[2])
            assert isinstance(await relay.client(), MailboxClient)  # others are not hindered
