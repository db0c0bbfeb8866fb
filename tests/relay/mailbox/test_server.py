"""Mailboxes over real connections on loopback, signed by real keys, in the SQLite store."""

from __future__ import annotations

from pathlib import Path

from covey_core.limits import MAILBOX_BLOB_BYTES
from covey_core.network import Network
from covey_core.wire import mailbox as m
from tests.relay.mailbox.world import mailbox_relay
from tests.support.mailbox_client import BLOB, MailboxClient, key, mid, verify_key

DAY = 86_400
WRITER = m.AdmitKey(verify_key("alice"))
AUTH, QUOTA = m.Refused(m.Reason.AUTH), m.Refused(m.Reason.QUOTA)


async def test_what_alice_deposits_bob_fetches_and_acknowledges(public: Network, tmp_path: Path) -> None:
    async with mailbox_relay(public, tmp_path / "mailboxes.db") as relay:
        bob, alice = await relay.client(), await relay.client()
        ids = await bob.new("bob", WRITER)
        assert (ids.quota_messages, ids.quota_bytes, ids.max_ttl_seconds) == (1024, 8 << 20, 21 * DAY)
        assert await alice.ask(m.Put(ids.send_id, mid(1), DAY, BLOB), key("alice")) == m.Stored(1)
        assert await alice.ask(m.Put(ids.send_id, mid(2), DAY, BLOB), key("alice")) == m.Stored(2)
        assert await alice.ask(m.Put(ids.send_id, mid(1), DAY, BLOB), key("alice")) == m.Stored(1)
        assert await alice.ask(m.Have(ids.send_id, (mid(2), mid(9))), key("alice")) == m.Held((mid(2),))
        got = await bob.ask(m.Get(ids.recv_id, 0, 1024), key("bob"))
        assert got == m.Messages((m.StoredMessage(1, mid(1), BLOB), m.StoredMessage(2, mid(2), BLOB)), more=False)
        assert await bob.ask(m.Ack(ids.recv_id, (mid(1),)), key("bob")) == m.Done()
        assert await bob.ask(m.Get(ids.recv_id, 0, 1024), key("bob")) == m.Messages(
            (m.StoredMessage(2, mid(2), BLOB),), more=False
        )
        assert await bob.ask(m.Del(ids.recv_id), key("bob")) == m.Done()
        assert await bob.ask(m.Get(ids.recv_id, 0, 1), key("bob")) == m.Refused(m.Reason.AUTH)
        assert await alice.ask(m.Put(ids.send_id, mid(3), DAY, BLOB), key("alice")) == m.Refused(m.Reason.AUTH)


async def test_who_subscribed_is_told_of_each_message_as_it_comes(public: Network, tmp_path: Path) -> None:
    async with mailbox_relay(public, tmp_path / "mailboxes.db") as relay:
        bob, alice = await relay.client(), await relay.client()
        ids = await bob.new("bob", WRITER)
        await alice.ask(m.Put(ids.send_id, mid(1), DAY, BLOB), key("alice"))
        subscribed = await bob.send(m.Sub(ids.recv_id, 0), key("bob"))
        assert await bob.answer(subscribed) == m.Done()
        assert await bob.next_push() == m.Response(subscribed, m.Messages((m.StoredMessage(1, mid(1), BLOB),)))
        for number in (2, 3):
            await alice.ask(m.Put(ids.send_id, mid(number), DAY, BLOB), key("alice"))
            pushed = m.Messages((m.StoredMessage(number, mid(number), BLOB),))
            assert await bob.next_push() == m.Response(subscribed, pushed)


async def test_a_message_comes_once_and_an_acknowledged_one_is_not_stored_again_for_two_days(
    public: Network, tmp_path: Path
) -> None:
    async with mailbox_relay(public, tmp_path / "mailboxes.db") as relay:
        bob, alice = await relay.client(), await relay.client()
        ids = await bob.new("bob", WRITER)
        put, get = m.Put(ids.send_id, mid(1), 30 * DAY, BLOB), m.Get(ids.recv_id, 0, 9)
        for _ in range(2):
            assert await alice.ask(put, key("alice")) == m.Stored(1)
        assert await bob.ask(m.Ack(ids.recv_id, (mid(1), mid(5))), key("bob")) == m.Done()
        assert await alice.ask(put, key("alice")) == m.Stored(1)
        assert await bob.ask(get, key("bob")) == m.Messages(())
        assert await alice.ask(m.Have(ids.send_id, (mid(1),)), key("alice")) == m.Held((mid(1),))
        relay.clock.now += 2 * DAY + 1
        assert await alice.ask(m.Have(ids.send_id, (mid(1),)), key("alice")) == m.Held(())
        assert await alice.ask(put, key("alice")) == m.Stored(2)


async def test_new_is_idempotent_on_the_owners_key(public: Network, tmp_path: Path) -> None:
    async with mailbox_relay(public, tmp_path / "mailboxes.db") as relay:
        bob, again = await relay.client(), await relay.client()
        ids = await bob.new("bob", WRITER)
        assert await again.new("bob", WRITER) == ids
        assert await again.ask(m.New(verify_key("bob"), m.AdmitOpen()), key("bob")) == AUTH
        assert await again.ask(m.New(verify_key("bob"), WRITER), key("mallory")) == AUTH
        assert await again.ask(m.New(verify_key("bob"), WRITER)) == AUTH
        other = await bob.new("carol", WRITER)
        assert len({ids.recv_id, ids.send_id, other.recv_id, other.send_id}) == 4


async def test_rot_replaces_the_whole_admission_at_once_and_what_lies_there_stays(
    public: Network, tmp_path: Path
) -> None:
    async with mailbox_relay(public, tmp_path / "mailboxes.db") as relay:
        bob, alice = await relay.client(), await relay.client()
        ids = await bob.new("bob", WRITER)
        assert await alice.ask(m.Put(ids.send_id, mid(1), DAY, BLOB), key("alice")) == m.Stored(1)
        frames = bob.signed(m.Rot(ids.recv_id, m.AdmitKey(verify_key("carol"))), key("bob"))
        rotated = bob.last_id
        for number, writer in ((2, "alice"), (3, "carol")):  # on one stream they take effect in their order
            frames += bob.signed(m.Put(ids.send_id, mid(number), DAY, BLOB), key(writer))
        await bob.stream.write(frames)
        assert [await bob.answer(rotated + n) for n in range(3)] == [m.Done(), AUTH, m.Stored(2)]
        assert await alice.ask(m.Put(ids.send_id, mid(4), DAY, BLOB), key("alice")) == AUTH
        assert await alice.ask(m.Put(ids.send_id, mid(1), DAY, BLOB), key("alice")) == AUTH
        got = await bob.ask(m.Get(ids.recv_id, 0, 9), key("bob"))
        assert isinstance(got, m.Messages)
        assert [one.mid for one in got.messages] == [mid(1), mid(3)]


async def test_a_message_expires_by_the_relays_clock_at_a_full_hour(public: Network, tmp_path: Path) -> None:
    async with mailbox_relay(public, tmp_path / "mailboxes.db", ttl_seconds=10 * DAY) as relay:
        bob, alice = await relay.client(), await relay.client()
        ids = await bob.new("bob", WRITER)
        assert ids.max_ttl_seconds == 10 * DAY
        hour = 3_600
        relay.clock.now = (relay.clock.now // hour) * hour + 1_000
        await alice.ask(m.Put(ids.send_id, mid(1), 100, BLOB), key("alice"))
        await alice.ask(m.Put(ids.send_id, mid(2), 30 * DAY, BLOB), key("alice"))
        relay.clock.now += hour - 1_001
        assert await held(alice, ids) == [1, 2]
        relay.clock.now += 1
        assert await held(alice, ids) == [2]
        assert await alice.ask(m.Put(ids.send_id, mid(1), 100, BLOB), key("alice")) == m.Stored(3)
        relay.clock.now += 10 * DAY
        assert await held(alice, ids) == []


async def held(alice: MailboxClient, ids: m.Ids) -> list[int]:
    answer = await alice.ask(m.Have(ids.send_id, (mid(1), mid(2))), key("alice"))
    assert isinstance(answer, m.Held)
    return [int.from_bytes(one, "big") for one in answer.mids]


async def test_a_full_queue_refuses_and_drops_nothing(public: Network, tmp_path: Path) -> None:
    async with mailbox_relay(public, tmp_path / "mailboxes.db", queue_messages=3) as relay:
        bob, alice = await relay.client(), await relay.client()
        ids = await bob.new("bob", WRITER)
        assert ids.quota_messages == 3
        puts = [m.Put(ids.send_id, mid(number), DAY, BLOB) for number in range(5)]
        answers = [await alice.ask(one, key("alice")) for one in puts]
        assert answers == [m.Stored(1), m.Stored(2), m.Stored(3), QUOTA, QUOTA]
        assert await alice.ask(puts[4], key("mallory")) == AUTH  # only said to who may write
        assert await alice.ask(puts[0], key("alice")) == m.Stored(1)
        assert await bob.ask(m.Ack(ids.recv_id, (mid(0),)), key("bob")) == m.Done()
        assert await alice.ask(puts[4], key("alice")) == m.Stored(4)
        assert relay.sample("covey_mailbox_events_total", event="quota") == 2


async def test_pages_are_bounded_in_messages_and_bytes_and_say_whether_more_lies_behind(
    public: Network, tmp_path: Path
) -> None:
    large = bytes(max(MAILBOX_BLOB_BYTES))
    async with mailbox_relay(public, tmp_path / "mailboxes.db") as relay:
        bob, alice = await relay.client(), await relay.client()
        small, wide = await bob.new("small", WRITER), await bob.new("wide", WRITER)
        for number in range(70):
            await alice.send(m.Put(small.send_id, mid(number), DAY, BLOB), key("alice"))
        for number in range(7):
            await alice.send(m.Put(wide.send_id, mid(number), DAY, large), key("alice"))
        await alice.answer(77)
        first = await page(bob, small, "small", after=0)
        assert (len(first.messages), first.more) == (63, True)
        rest = await page(bob, small, "small", after=63)
        assert (len(rest.messages), rest.more) == (7, False)
        few = await page(bob, small, "small", after=60, most=4)
        assert ([one.seq for one in few.messages], few.more) == ([61, 62, 63, 64], True)
        assert [len((await page(bob, wide, "wide", after=after)).messages) for after in (0, 3, 6)] == [3, 3, 1]


async def page(bob: MailboxClient, ids: m.Ids, owner: str, *, after: int, most: int = 1024) -> m.Messages:
    answer = await bob.ask(m.Get(ids.recv_id, after, most), key(owner))
    assert isinstance(answer, m.Messages)
    return answer


# --- subscriptions ----------------------------------------------------------------------------------------------------


async def test_a_subscription_moves_to_the_stream_that_asked_last(public: Network, tmp_path: Path) -> None:
    async with mailbox_relay(public, tmp_path / "mailboxes.db") as relay:
        first, second, alice = await relay.client(), await relay.client(), await relay.client()
        ids = await first.new("bob", WRITER)
        assert await first.ask(m.Sub(ids.recv_id, 0), key("bob")) == m.Done()
        assert await second.ask(m.Sub(ids.recv_id, 0), key("bob")) == m.Done()
        assert relay.service.subscriptions == 1
        await alice.ask(m.Put(ids.send_id, mid(1), DAY, BLOB), key("alice"))
        assert (await second.next_push()).answer == m.Messages((m.StoredMessage(1, mid(1), BLOB),))
        assert await first.ask(m.Get(ids.recv_id, 9, 1), key("bob")) == m.Messages(())
        assert first.pushed == []


async def test_nobody_but_the_owner_takes_a_subscription_away(public: Network, tmp_path: Path) -> None:
    async with mailbox_relay(public, tmp_path / "mailboxes.db") as relay:
        bob, alice = await relay.client(), await relay.client()
        ids = await bob.new("bob", WRITER)
        subscribed = await bob.send(m.Sub(ids.recv_id, 0), key("bob"))
        assert await bob.answer(subscribed) == m.Done()
        stolen = bob.signed(m.Sub(ids.recv_id, 0), key("bob"), request_id=9)
        for thief in (None, key("alice"), key("mallory")):
            assert await alice.ask(m.Sub(ids.recv_id, 0), thief) == AUTH
        alice.last_id, alice.subscribed = 9, alice.subscribed | {9}
        await alice.stream.write(stolen)  # overheard, and sent on a stream with another nonce
        assert await alice.answer(9) == AUTH
        await alice.ask(m.Put(ids.send_id, mid(1), DAY, BLOB), key("alice"))
        assert (await bob.next_push()).id == subscribed
        assert alice.pushed == []


async def test_a_new_subscription_on_the_same_stream_replaces_the_first(public: Network, tmp_path: Path) -> None:
    async with mailbox_relay(public, tmp_path / "mailboxes.db") as relay:
        bob, alice = await relay.client(), await relay.client()
        ids = await bob.new("bob", WRITER)
        await alice.ask(m.Put(ids.send_id, mid(1), DAY, BLOB), key("alice"))
        await alice.ask(m.Put(ids.send_id, mid(2), DAY, BLOB), key("alice"))
        first = await bob.send(m.Sub(ids.recv_id, 1), key("bob"))
        assert await bob.next_push() == m.Response(first, m.Messages((m.StoredMessage(2, mid(2), BLOB),)))
        second = await bob.send(m.Sub(ids.recv_id, 0), key("bob"))
        pushed = await bob.next_push()
        assert pushed.id == second
        assert isinstance(pushed.answer, m.Messages)
        assert [one.seq for one in pushed.answer.messages] == [1, 2]


async def test_many_waiting_messages_of_many_queues_are_all_pushed_once_and_in_order(
    public: Network, tmp_path: Path
) -> None:
    async with mailbox_relay(public, tmp_path / "mailboxes.db") as relay:
        bob, alice = await relay.client(), await relay.client()
        queues = [await bob.new(f"bob{number}", WRITER) for number in range(20)]
        for number in range(40):
            for ids in queues:
                await alice.send(m.Put(ids.send_id, mid(number), DAY, BLOB), key("alice"))
        await alice.answer(800)
        subs = [await bob.send(m.Sub(ids.recv_id, 0), key(f"bob{number}")) for number, ids in enumerate(queues)]
        seen: dict[int, list[int]] = {one: [] for one in subs}
        while sum(map(len, seen.values())) < 800:
            pushed = await bob.next_push()
            assert isinstance(pushed.answer, m.Messages)
            seen[pushed.id] += [one.seq for one in pushed.answer.messages]
        assert all(seqs == list(range(1, 41)) for seqs in seen.values())


async def test_a_deleted_queue_ends_its_subscription(public: Network, tmp_path: Path) -> None:
    async with mailbox_relay(public, tmp_path / "mailboxes.db") as relay:
        bob, alice = await relay.client(), await relay.client()
        ids = await bob.new("bob", WRITER)
        await bob.ask(m.Sub(ids.recv_id, 0), key("bob"))
        assert await alice.ask(m.Del(ids.recv_id), key("bob")) == m.Done()
        assert await alice.ask(m.Put(ids.send_id, mid(1), DAY, BLOB), key("alice")) == AUTH
        assert await bob.ask(m.Get(ids.recv_id, 0, 1), key("bob")) == AUTH
        assert relay.service.subscriptions == 0
        assert bob.pushed == []
