"""Every mailbox store does the same, and what it answered is there: one suite, all stores."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from covey_core.wire import mailbox as m
from covey_relay import limits
from covey_relay.limits import MailboxLimits
from covey_relay.mailbox import operations as op
from covey_relay.mailbox.operations import MailboxStore, Operation, Outcome, Refusal
from covey_relay.mailbox.policy import Queue
from covey_relay.mailbox.postgres import PostgresStore
from covey_relay.mailbox.sqlite import SqliteStore
from tests.support.postgres import Server

NOW = 1_700_000_000
DAY = 86_400
SMALL, _, LARGE = 4_112, 16_400, 65_552
KEY, WRITER = bytes([1]) * 32, bytes([2]) * 32
RECV, SEND = bytes([3]) * 24, bytes([4]) * 24
TOKEN, OTHER_TOKEN = (hashlib.sha256(bytes([n])).digest() for n in (1, 2))
BOUNDS = MailboxLimits(queues=3, queue_messages=4, queue_bytes=3 * LARGE)

Make = Callable[[MailboxLimits], MailboxStore]


@pytest.fixture(params=["sqlite", "postgres"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Opens the same store again and again; all are closed at the end."""
    opened: list[MailboxStore] = []
    server: Server | None = request.getfixturevalue("postgres") if request.param == "postgres" else None

    def opening(bounds: MailboxLimits = BOUNDS) -> MailboxStore:
        made = SqliteStore(tmp_path / "mailboxes.db", bounds) if server is None else PostgresStore(server.url, bounds)
        opened.append(made)
        return made

    yield opening
    for store in opened:
        store.close()


@pytest.fixture
def store(make: Make) -> MailboxStore:
    return make(BOUNDS)


def do(store: MailboxStore, operation: Operation, now: int = NOW) -> Outcome:
    (result,) = store.apply([operation], now=now)
    return result


def created(store: MailboxStore, admit: m.Admit | None = None) -> None:
    made = do(store, op.Create(KEY, admit or m.AdmitKey(WRITER), RECV, SEND))
    assert made == op.Created(RECV, SEND)


def mid(number: int) -> bytes:
    return number.to_bytes(16, "big")


def put(number: int, *, size: int = SMALL, ends: int = NOW + DAY, key: bytes | None = WRITER) -> op.Deposit:
    return op.Deposit(SEND, mid(number), bytes([number % 256]) * size, ends, key)


def fetched(store: MailboxStore, now: int = NOW, after: int = 0) -> list[int]:
    got = do(store, op.Fetch(RECV, after, 1000, 10**9), now)
    assert isinstance(got, op.Fetched)
    assert all(one.blob == bytes([int.from_bytes(one.mid, "big") % 256]) * len(one.blob) for one in got.messages)
    return [int.from_bytes(one.mid, "big") for one in got.messages]


# --- queues -----------------------------------------------------------------------------------------------------------


def test_a_key_owns_one_queue_however_often_it_asks(store: MailboxStore) -> None:
    created(store)
    again = op.Create(KEY, m.AdmitKey(WRITER), bytes(24), bytes([9]) * 24)
    assert do(store, again) == op.Created(RECV, SEND)
    assert do(store, op.Create(KEY, m.AdmitOpen(), bytes(24), bytes([9]) * 24)) is Refusal.GONE
    assert do(store, op.FindOwned(RECV)) == op.Found(Queue(KEY, m.AdmitKey(WRITER), 0))
    assert do(store, op.FindWritten(SEND)) == op.Found(Queue(KEY, m.AdmitKey(WRITER), 0))
    assert store.usage().queues == 1


def test_neither_id_does_the_others_work(store: MailboxStore) -> None:
    created(store)
    owned, written = op.FindOwned(RECV), op.FindWritten(SEND)
    wrong = [
        op.FindOwned(SEND),
        op.FindWritten(RECV),
        op.Remove(SEND),
        op.Fetch(SEND, 0, 1, 1),
        op.Held(RECV, (mid(1),)),
    ]
    assert store.apply([owned, written, *wrong], now=NOW)[2:] == [Refusal.GONE] * len(wrong)


def test_there_are_so_many_queues_and_a_removed_one_makes_room(store: MailboxStore) -> None:
    def create(n: int) -> op.Create:
        return op.Create(bytes([n]) * 32, m.AdmitOpen(), bytes([n]) * 24, bytes([n + 100]) * 24)

    results = store.apply([create(n) for n in range(5)], now=NOW)
    assert [isinstance(one, op.Created) for one in results] == [True, True, True, False, False]
    assert results[4] is Refusal.QUEUES
    assert do(store, op.Remove(bytes([1]) * 24)) is True
    assert do(store, op.Remove(bytes([1]) * 24)) is Refusal.GONE
    assert isinstance(do(store, create(4)), op.Created)
    assert store.usage().queues == 3


def test_a_removed_queue_leaves_nothing_behind(store: MailboxStore) -> None:
    created(store)
    store.apply([put(1), put(2), op.Acknowledge(RECV, (mid(1),)), op.AddKeys(RECV, (b"key",), b"bundle")], now=NOW)
    assert do(store, op.Remove(RECV)) is True
    assert store.usage().messages == 0
    assert store.usage().earliest_end is None
    created(store)
    assert fetched(store) == []
    assert do(store, op.TakeKey(SEND, WRITER)) is Refusal.EMPTY
    assert do(store, put(1)) == op.Deposited(1, new=True)


def test_rotation_shuts_the_former_writer_out_and_keeps_what_lies_there(store: MailboxStore) -> None:
    created(store)
    do(store, put(1))
    other = bytes([7]) * 32
    assert do(store, op.Rotate(RECV, m.AdmitKey(other))) is True
    assert do(store, put(2)) is Refusal.GONE
    assert do(store, put(2, key=None)) is Refusal.GONE
    assert do(store, put(2, key=other)) == op.Deposited(2, new=True)
    assert fetched(store) == [1, 2]
    assert do(store, op.FindWritten(SEND)) == op.Found(Queue(KEY, m.AdmitKey(other), 2))


def test_an_idle_queue_goes_after_ninety_days_and_its_owner_keeps_it_by_asking(store: MailboxStore) -> None:
    created(store)
    do(store, op.Fetch(RECV, 0, 1, 1), NOW + 60 * DAY)
    do(store, op.FindOwned(RECV), NOW + 70 * DAY)  # anybody may have asked that
    assert do(store, op.Expire(100), NOW + 149 * DAY) == op.Expired(0, 0, more=False)
    assert do(store, op.Expire(100), NOW + 152 * DAY) == op.Expired(0, 1, more=False)
    assert do(store, op.FindWritten(SEND)) is Refusal.GONE


# --- messages ---------------------------------------------------------------------------------------------------------


def test_messages_come_in_the_order_in_which_they_were_deposited(store: MailboxStore) -> None:
    created(store)
    assert store.apply([put(3), put(1), put(2)], now=NOW) == [op.Deposited(n, new=True) for n in (1, 2, 3)]
    assert fetched(store) == [3, 1, 2]
    assert fetched(store, after=1) == [1, 2]
    assert fetched(store, after=3) == fetched(store, after=2**62) == []


def test_a_page_ends_at_either_bound_and_says_whether_more_lies_behind(store: MailboxStore) -> None:
    created(store)
    store.apply([put(1), put(2), put(3)], now=NOW)
    for most, size, count in ((1, 10**9, 1), (2, 10**9, 2), (3, 10**9, 3), (9, 2 * SMALL, 2), (9, 1, 1)):
        page = do(store, op.Fetch(RECV, 0, most, size))
        assert isinstance(page, op.Fetched)
        assert (len(page.messages), page.more) == (count, count < 3)


def test_a_deposit_is_done_once_also_after_its_acknowledgement(store: MailboxStore) -> None:
    created(store)
    again = op.Deposited(1, new=False)
    assert store.apply([put(1), put(1)], now=NOW) == [op.Deposited(1, new=True), again]
    assert do(store, op.Acknowledge(RECV, (mid(1), mid(5)))) == 1
    assert do(store, op.Acknowledge(RECV, (mid(1),))) == 0
    assert do(store, put(1), NOW + 2 * DAY - 1) == again
    assert do(store, op.FindWritten(SEND, mid(1))) == op.Found(Queue(KEY, m.AdmitKey(WRITER), 0), known=1)
    assert do(store, op.Held(SEND, (mid(9), mid(1)))) == (mid(1),)
    assert fetched(store) == []
    assert do(store, put(1, ends=NOW + 9 * DAY), NOW + 2 * DAY) == op.Deposited(2, new=True)


def test_one_queue_does_not_know_the_ids_of_another(store: MailboxStore) -> None:
    created(store)
    other = bytes([8]) * 24
    do(store, op.Create(bytes([8]) * 32, m.AdmitOpen(), other, bytes([9]) * 24))
    do(store, put(1))
    assert do(store, op.Acknowledge(other, (mid(1),))) == 0
    assert do(store, op.Held(bytes([9]) * 24, (mid(1),))) == ()
    assert do(store, op.Deposit(bytes([9]) * 24, mid(1), bytes(SMALL), NOW + DAY, None)) == op.Deposited(1, new=True)
    assert fetched(store) == [1]


def test_a_full_queue_refuses_and_drops_nothing(store: MailboxStore) -> None:
    created(store)
    assert store.apply([put(n) for n in range(1, 6)], now=NOW)[4] is Refusal.QUOTA
    assert do(store, put(2)) == op.Deposited(2, new=False)  # what lies there is no question of quota
    assert fetched(store) == [1, 2, 3, 4]
    do(store, op.Acknowledge(RECV, (mid(2),)))
    assert do(store, put(5)) == op.Deposited(5, new=True)


def test_bytes_count_as_well(store: MailboxStore) -> None:
    created(store)
    results = store.apply([put(n, size=LARGE) for n in range(3)] + [put(9)], now=NOW)
    assert results[3] is Refusal.QUOTA
    do(store, op.Acknowledge(RECV, (mid(1),)))
    assert do(store, put(9)) == op.Deposited(4, new=True)


def test_time_ends_a_message_at_once_and_the_sweep_frees_its_quota(store: MailboxStore) -> None:
    created(store)
    store.apply([put(1, ends=NOW + 10), put(2, ends=NOW + 20), put(3), put(4)], now=NOW)
    assert fetched(store, NOW + 10) == [2, 3, 4]
    assert do(store, op.Held(SEND, (mid(1), mid(2))), NOW + 10) == (mid(2),)
    assert do(store, put(5), NOW + 10) is Refusal.QUOTA
    assert store.usage().earliest_end == NOW + 10
    assert do(store, op.Expire(1), NOW + 20) == op.Expired(1, 0, more=True)
    assert do(store, op.Expire(10), NOW + 20) == op.Expired(1, 0, more=False)
    assert do(store, op.FindOwned(RECV), NOW + 20) == op.Found(Queue(KEY, m.AdmitKey(WRITER), 2))
    assert do(store, put(5), NOW + 20) == op.Deposited(5, new=True)


def test_a_message_whose_time_is_over_may_come_again_before_the_sweep(store: MailboxStore) -> None:
    created(store)
    do(store, put(1, ends=NOW + 10))
    assert do(store, put(1), NOW + 10) == op.Deposited(2, new=True)
    assert fetched(store, NOW + 10) == [1]
    assert store.usage().messages == 1


# --- keys and tokens --------------------------------------------------------------------------------------------------


def test_each_key_is_handed_out_once_with_the_bundle_and_then_the_bundle_alone(store: MailboxStore) -> None:
    created(store)
    take = op.TakeKey(SEND, WRITER)
    assert do(store, op.AddKeys(RECV, (b"one",), b"")) == 1
    assert do(store, take) is Refusal.EMPTY
    assert do(store, op.AddKeys(RECV, (b"two",), b"bundle")) == 2
    assert do(store, op.AddKeys(RECV, (b"three",), b"")) == 3
    assert store.apply([take] * 5, now=NOW) == [
        op.Taken(b"bundle", b"one", left=2),
        op.Taken(b"bundle", b"two", left=1),
        op.Taken(b"bundle", b"three", left=0),
        op.Taken(b"bundle", b"", left=0),
        op.Taken(b"bundle", b"", left=0),
    ]
    assert do(store, op.AddKeys(RECV, (), b"newer")) == 0
    assert do(store, take) == op.Taken(b"newer", b"", left=0)
    assert do(store, op.TakeKey(SEND, None)) is Refusal.GONE
    too_many = (b"key",) * (limits.MAILBOX_QUEUE_KEYS + 1)
    assert do(store, op.AddKeys(RECV, too_many, b"other")) is Refusal.QUOTA
    assert do(store, take) == op.Taken(b"newer", b"", left=0)


def test_a_token_is_good_for_one_message_and_one_key(store: MailboxStore) -> None:
    created(store, m.AdmitTokens((TOKEN,)))

    def by(token: bytes, number: int) -> op.Deposit:
        return op.Deposit(SEND, mid(number), bytes(SMALL), NOW + DAY, None, token)

    do(store, op.AddKeys(RECV, (b"one",), b"bundle"))
    take = op.TakeKey(SEND, None, TOKEN)
    assert do(store, take) == op.Taken(b"bundle", b"one", left=0)
    do(store, op.AddKeys(RECV, (b"two",), b""))
    assert do(store, take) == op.Taken(b"bundle", b"", left=0)  # whose answer was lost may ask again, for no other key
    assert do(store, op.TakeKey(SEND, None, OTHER_TOKEN)) is Refusal.TOKEN
    assert do(store, by(TOKEN, 1)) == op.Deposited(1, new=True)
    assert do(store, by(TOKEN, 1)) == op.Deposited(1, new=False)
    assert do(store, by(TOKEN, 2)) is Refusal.TOKEN
    assert do(store, by(OTHER_TOKEN, 2)) is Refusal.TOKEN
    do(store, op.Rotate(RECV, m.AdmitTokens((TOKEN, OTHER_TOKEN))))
    assert do(store, by(TOKEN, 2)) is Refusal.TOKEN
    assert do(store, by(OTHER_TOKEN, 2)) == op.Deposited(2, new=True)
    do(store, op.Rotate(RECV, m.AdmitOpen()))
    do(store, op.Rotate(RECV, m.AdmitTokens((TOKEN,))))
    assert do(store, by(TOKEN, 3)) == op.Deposited(3, new=True)


# --- disk -------------------------------------------------------------------------------------------------------------


def test_what_was_answered_is_there_after_the_store_was_opened_again(make: Make) -> None:
    first = make(BOUNDS)
    created(first)
    first.apply([put(1), put(2), op.Acknowledge(RECV, (mid(1),)), op.AddKeys(RECV, (b"one",), b"bundle")], now=NOW)
    first.close()
    second = make(BOUNDS)
    assert fetched(second) == [2]
    assert do(second, put(1)) == op.Deposited(1, new=False)
    assert do(second, put(3)) == op.Deposited(3, new=True)
    assert do(second, op.TakeKey(SEND, WRITER)) == op.Taken(b"bundle", b"one", left=0)
    assert (second.usage().queues, second.usage().messages) == (1, 2)


def test_a_store_at_its_cap_takes_nothing_more_and_still_gives_and_forgets(make: Make) -> None:
    wide = MailboxLimits(disk_bytes=2**20, queue_messages=1000, queue_bytes=2**30)
    store = make(wide)
    created(store)
    results = [do(store, put(n)) for n in range(400)]
    taken = [n for n, one in enumerate(results) if one == op.Deposited(n + 1, new=True)]
    assert 100 < len(taken) < 256
    assert set(results[len(taken) :]) == {Refusal.DISK}
    assert store.usage().used_bytes <= 2**20
    both = store.apply([put(500), op.Fetch(RECV, 0, 1, 1), op.Acknowledge(RECV, tuple(map(mid, taken[:50])))], now=NOW)
    assert both[0] is Refusal.DISK
    assert isinstance(both[1], op.Fetched)
    assert both[2] == 50
    assert isinstance(do(store, put(500)), op.Deposited)
    assert fetched(store) == [*taken[50:], 500]


def test_what_expired_takes_no_room(make: Make) -> None:
    store = make(MailboxLimits(queue_messages=1000, queue_bytes=2**30))
    created(store)
    empty = store.usage().used_bytes
    for start in range(0, 600, 200):
        store.apply([put(n) for n in range(start, start + 200)], now=NOW)
    full = store.usage().used_bytes
    assert full > 600 * SMALL
    while True:
        swept = do(store, op.Expire(100), NOW + 3 * DAY)
        assert isinstance(swept, op.Expired)
        if not swept.more:
            break
    assert store.usage().used_bytes - empty < 0.05 * full
