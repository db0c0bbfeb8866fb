"""What only the store for several relays has: others that write at once, a server that goes away, news of others."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from covey_core.errors import SettingsInvalid
from covey_core.wire import mailbox as m
from covey_relay import limits
from covey_relay.limits import MailboxLimits
from covey_relay.mailbox import operations as op
from covey_relay.mailbox.operations import Arrivals, Arrived, Outcome, Refusal, StoreFailed
from covey_relay.mailbox.postgres import PostgresStore, connect
from covey_relay.mailbox.postgres_tables import grown
from tests.relay.mailbox.test_store import DAY, NOW, SMALL, do, mid
from tests.support.postgres import Server

WRITERS = 4
QUEUES = 6
BOUNDS = MailboxLimits(queues=QUEUES + 4, queue_messages=1000, queue_bytes=2**30)
Open = Callable[[], PostgresStore]


@pytest.fixture
def opening(postgres: Server) -> Iterator[Open]:
    """Opens one store after the other over the same database, each as another relay would."""
    opened: list[PostgresStore] = []

    def opening() -> PostgresStore:
        opened.append(PostgresStore(postgres.url, BOUNDS))
        return opened[-1]

    yield opening
    for store in opened:
        store.close()


def recv(queue: int) -> bytes:
    return bytes([queue]) * 24


def send(queue: int) -> bytes:
    return bytes([queue + 100]) * 24


def key(queue: int) -> bytes:
    return bytes([queue]) * 32


def create(queue: int, admit: m.Admit | None = None) -> op.Create:
    return op.Create(key(queue), admit or m.AdmitOpen(), recv(queue), send(queue))


def put(queue: int, number: int, token: bytes | None = None) -> op.Deposit:
    return op.Deposit(send(queue), mid(number), bytes([number % 256]) * SMALL, NOW + DAY, None, token)


def at_once(opening: Open, work: Callable[[PostgresStore, int], list[Outcome]]) -> list[list[Outcome]]:
    """Let several relays work at the same time, each with a store of its own; return what each was answered."""
    ready = threading.Barrier(WRITERS)
    stores = [opening() for _ in range(WRITERS)]

    def run(number: int) -> list[Outcome]:
        ready.wait(30)
        return work(stores[number], number)

    with ThreadPoolExecutor(WRITERS) as pool:
        return list(pool.map(run, range(WRITERS)))


# --- several relays at once -------------------------------------------------------------------------------------------


def test_relays_that_deposit_the_same_messages_at_once_store_each_once(opening: Open) -> None:
    store = opening()
    store.apply([create(queue) for queue in range(QUEUES)], now=NOW)

    def work(mine: PostgresStore, writer: int) -> list[Outcome]:
        answers: list[Outcome] = []
        for start in range(0, 40, 8):  # each takes the queues in another order
            order = [(writer * 5 + step * (1 + 2 * (writer % 2))) % QUEUES for step in range(QUEUES)]
            answers += mine.apply([put(queue, n) for queue in order for n in range(start, start + 8)], now=NOW)
        return answers

    answers = at_once(opening, work)
    assert all(isinstance(one, op.Deposited) for some in answers for one in some)
    new = sum(isinstance(one, op.Deposited) and one.new for some in answers for one in some)
    assert new == 40 * QUEUES
    assert store.usage().messages == 40 * QUEUES
    for queue in range(QUEUES):
        fetched = do(store, op.Fetch(recv(queue), 0, 1000, 10**9))
        assert isinstance(fetched, op.Fetched)
        assert [one.seq for one in fetched.messages] == list(range(1, 41))
        assert {one.mid for one in fetched.messages} == {mid(n) for n in range(40)}


def test_relays_that_fill_a_queue_at_once_stop_at_its_quota(opening: Open, postgres: Server) -> None:
    do(opening(), create(0))
    few = MailboxLimits(queue_messages=50, queue_bytes=2**30)

    def work(mine: PostgresStore, writer: int) -> list[Outcome]:
        own = PostgresStore(postgres.url, few)
        try:
            return [do(own, put(0, 100 * writer + n)) for n in range(25)]
        finally:
            own.close()

    answers = [one for some in at_once(opening, work) for one in some]
    assert sum(isinstance(one, op.Deposited) for one in answers) == 50
    assert answers.count(Refusal.QUOTA) == 50
    assert sorted(one.seq for one in answers if isinstance(one, op.Deposited)) == list(range(1, 51))


def test_relays_hand_each_one_time_key_out_once_and_use_each_token_once(opening: Open) -> None:
    tokens = tuple(hashlib.sha256(bytes([n])).digest() for n in range(10))
    store = opening()
    keys = tuple(bytes([n]) for n in range(1, 33))
    store.apply([create(0), op.AddKeys(recv(0), keys, b"bundle"), create(1, m.AdmitTokens(tokens))], now=NOW)

    def work(mine: PostgresStore, writer: int) -> list[Outcome]:
        answers: list[Outcome] = [do(mine, op.TakeKey(send(0), None)) for _ in range(10)]
        return answers + [do(mine, put(1, 100 * writer + n, token)) for n, token in enumerate(tokens)]

    answers = at_once(opening, work)
    handed_out = [one.one_time for some in answers for one in some if isinstance(one, op.Taken)]
    assert sorted(one for one in handed_out if one) == sorted(keys)
    assert handed_out.count(b"") == 10 * WRITERS - len(keys)
    deposits = [one for some in answers for one in some[10:]]
    assert sum(isinstance(one, op.Deposited) for one in deposits) == len(tokens)
    assert deposits.count(Refusal.TOKEN) == len(tokens) * (WRITERS - 1)


def test_relays_that_make_the_same_queues_at_once_make_each_once_and_no_more_than_may_be(opening: Open) -> None:
    def work(mine: PostgresStore, writer: int) -> list[Outcome]:
        order = [(3 * writer + n) % 16 for n in range(16)]
        answers = [
            do(mine, op.Create(key(n), m.AdmitOpen(), bytes([writer, n]) * 12, bytes([9, n]) * 12)) for n in order
        ]
        return [answers[order.index(n)] for n in range(16)]

    answers = at_once(opening, work)
    made = [next((one for one in of_key if isinstance(one, op.Created)), None) for of_key in zip(*answers, strict=True)]
    assert sum(one is not None for one in made) == BOUNDS.queues
    for some in answers:
        assert all(one in (ids, Refusal.QUEUES) for one, ids in zip(some, made, strict=True))
    assert opening().usage().queues == BOUNDS.queues


def test_relays_that_sweep_write_and_acknowledge_at_once_lose_no_count(opening: Open) -> None:
    store = opening()
    store.apply([create(queue) for queue in range(QUEUES)], now=NOW)

    def work(mine: PostgresStore, writer: int) -> list[Outcome]:
        for n in range(0, 60, 3):
            queue = (n // 3 + writer) % QUEUES
            old = op.Deposit(send(queue), mid(1000 * writer + n), bytes(SMALL), NOW + 10, None)
            mine.apply([old, put(queue, 1000 * writer + n + 1)], now=NOW)
            mine.apply([op.Expire(7), op.Acknowledge(recv(queue), (mid(1000 * writer + n + 1),))], now=NOW + 20)
        return []

    at_once(opening, work)
    assert isinstance(do(store, op.Expire(1000), NOW + 20), op.Expired)
    assert (store.usage().queues, store.usage().messages) == (QUEUES, 0)
    assert [do(store, op.FindOwned(recv(queue))) for queue in range(QUEUES)] == [
        op.Found(op.Queue(key(queue), m.AdmitOpen(), 0)) for queue in range(QUEUES)
    ]


def test_a_batch_that_the_server_ends_to_loosen_a_knot_is_done_again(opening: Open, postgres: Server) -> None:
    store = opening()
    store.apply([create(0), create(1)], now=NOW)
    with psycopg.connect(postgres.url) as other, ThreadPoolExecutor(1) as pool:
        other.execute("SET deadlock_timeout TO '60s'")
        _hold(other, send(1))
        doing = pool.submit(store.apply, [put(0, 1), put(1, 1)], now=NOW)
        _until_waiting(postgres, store)
        _hold(other, send(0))
        other.commit()
        assert doing.result(30) == [op.Deposited(1, new=True)] * 2


def test_a_sweep_counts_on_from_what_others_did_since_it_looked(opening: Open, postgres: Server) -> None:
    store = opening()
    store.apply([create(0), op.Deposit(send(0), mid(1), bytes(SMALL), NOW + 10, None)], now=NOW)
    with psycopg.connect(postgres.url) as other, ThreadPoolExecutor(1) as pool:
        other.execute("LOCK TABLE covey_mailbox.acked")  # where a look-up waits after it has read the queue
        doing = pool.submit(store.apply, [op.FindWritten(send(0), mid(2)), op.Expire(10)], now=NOW + 20)
        _until_waiting(postgres, store)
        other.execute("UPDATE covey_mailbox.queues SET last_seq = 7")
        other.commit()
        assert doing.result(30)[1] == op.Expired(1, 0, more=False)
    assert do(store, put(0, 3)) == op.Deposited(8, new=True)


def _hold(other: psycopg.Connection[Any], queue: bytes) -> None:
    other.execute("SELECT 1 FROM covey_mailbox.queues WHERE send_id = %s FOR UPDATE", (queue,))


def _until_waiting(postgres: Server, store: PostgresStore) -> None:
    with psycopg.connect(postgres.url, autocommit=True) as raw:
        waits = "SELECT wait_event_type FROM pg_stat_activity WHERE pid = %s"
        while raw.execute(waits, (store._raw.info.backend_pid,)).fetchone() != ("Lock",):
            pass


# --- a server that goes away ------------------------------------------------------------------------------------------


def test_a_store_goes_on_with_a_server_that_was_started_again(opening: Open, postgres: Server) -> None:
    store = opening()
    store.apply([create(0), put(0, 1)], now=NOW)
    postgres.stop()
    for _ in range(2):
        with pytest.raises(StoreFailed, match="cannot be reached"):
            do(store, put(0, 2))
        with pytest.raises(StoreFailed, match="cannot be reached"):
            store.usage()
    postgres.start()
    assert do(store, put(0, 2)) == op.Deposited(2, new=True)
    for number in (3, 4):
        postgres.kill()
        postgres.start()
        assert store.usage().messages == number - 1
        postgres.kill()
        postgres.start()
        assert do(store, put(0, number)) == op.Deposited(number, new=True)


def test_what_other_relays_deposit_is_told_to_those_that_listen_and_what_was_missed_as_well(
    opening: Open, postgres: Server
) -> None:
    store, other = opening(), opening()
    store.apply([create(queue) for queue in range(QUEUES)], now=NOW)
    arrivals = store.arrivals()
    try:
        do(store, put(0, 1))
        assert do(other, put(0, 1)) == op.Deposited(1, new=False)
        assert arrivals.wait(seconds=0.1) is None
        other.apply([put(queue, 2) for queue in (3, 1, 3)] + [op.FindOwned(recv(2))], now=NOW)
        assert _next(arrivals) == Arrived((key(1), key(3)))
        postgres.stop()
        for _ in range(3):
            assert arrivals.wait(seconds=0.05) is None
        postgres.start()
        do(other, put(4, 1))
        assert _next(arrivals) == Arrived((), missed=True)
        do(other, put(5, 1))
        assert _next(arrivals) == Arrived((key(5),))
    finally:
        arrivals.close()


def _next(arrivals: Arrivals) -> Arrived:
    while True:
        arrived = arrivals.wait(seconds=1.0)
        if arrived is not None:
            return Arrived(tuple(sorted(arrived.recv_keys)), arrived.missed)


def test_keys_are_told_in_pieces_that_fit_and_what_is_not_ours_is_passed_over(opening: Open) -> None:
    many = MailboxLimits(queues=1000)
    store = opening()
    store._bounds = many
    owners = [hashlib.sha256(bytes([n % 256, n // 256])).digest() for n in range(500)]
    store.apply([op.Create(one, m.AdmitOpen(), one[:24], one[8:]) for one in owners], now=NOW)
    arrivals = opening().arrivals()
    try:
        store.apply([op.Deposit(one[8:], mid(1), bytes(SMALL), NOW + DAY, None) for one in owners], now=NOW)
        told: set[bytes] = set()
        while len(told) < 500:
            told.update(_next(arrivals).recv_keys)
        assert told == set(owners)
    finally:
        arrivals.close()
    assert grown("no base64!") == grown("") == grown("AAAA") == ()


def test_what_expired_gives_its_room_back_when_the_server_vacuums(opening: Open, postgres: Server) -> None:
    store = opening()
    store.apply([create(0)] + [put(0, n) for n in range(500)], now=NOW)
    assert do(store, op.Expire(1000), NOW + 3 * DAY) == op.Expired(500, 0, more=False)
    assert store.give_back(bytes_max=2**30) == 0
    with psycopg.connect(postgres.url, autocommit=True) as raw:
        size = "SELECT pg_total_relation_size('covey_mailbox.messages')"
        (full,) = raw.execute(size).fetchone() or (0,)
        raw.execute("VACUUM covey_mailbox.messages")  # as autovacuum does by itself
        (empty,) = raw.execute(size).fetchone() or (0,)
    assert full > 500 * SMALL
    assert empty < 0.2 * full


# --- servers that are not fit -----------------------------------------------------------------------------------------


def test_a_server_that_forgets_what_it_has_answered_is_refused(postgres: Server) -> None:
    with psycopg.connect(postgres.url, autocommit=True) as raw:
        try:
            for name in ("fsync", "full_page_writes"):
                raw.execute(f"ALTER SYSTEM SET {name} TO off")
                _reload(raw, name, "off")
                with pytest.raises(SettingsInvalid, match=name):
                    PostgresStore(postgres.url, BOUNDS)
                raw.execute(f"ALTER SYSTEM RESET {name}")
                _reload(raw, name, "on")
            raw.execute("ALTER ROLE covey SET synchronous_commit TO off")
            store = PostgresStore(postgres.url, BOUNDS)
            assert store._raw.execute("SHOW synchronous_commit").fetchone() == ("on",)
            store.close()
        finally:
            raw.execute("ALTER SYSTEM RESET ALL")
            raw.execute("ALTER ROLE covey RESET ALL")
            _reload(raw, "fsync", "on")


def _reload(raw: psycopg.Connection[Any], name: str, value: str) -> None:
    raw.execute("SELECT pg_reload_conf()")
    while raw.execute("SELECT current_setting(%s)", (name,)).fetchone() != (value,):
        pass


def test_the_database_of_a_newer_relay_and_one_that_is_not_there_are_refused(postgres: Server) -> None:
    PostgresStore(postgres.url, BOUNDS).close()
    with psycopg.connect(postgres.url, autocommit=True) as raw:
        raw.execute("UPDATE covey_mailbox.version SET version = 2")
    with pytest.raises(SettingsInvalid, match="newer"):
        PostgresStore(postgres.url, BOUNDS)
    with pytest.raises(StoreFailed, match="cannot be reached") as failed:
        PostgresStore(f"postgresql://covey:a-secret@/nowhere?host={postgres.folder}", BOUNDS)
    assert "a-secret" not in str(failed.value)


def test_relays_that_start_together_make_the_tables_once(postgres: Server) -> None:
    with ThreadPoolExecutor(8) as pool:
        stores = list(pool.map(lambda _: PostgresStore(postgres.url, BOUNDS), range(8)))
    for store in stores:
        store.close()


def test_a_relay_that_hangs_loses_what_it_holds(
    opening: Open, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opening()
    do(store, create(0))
    monkeypatch.setattr(limits, "MAILBOX_POSTGRES_SECONDS", 1)
    with connect(postgres.url) as hanging:
        hanging.execute("BEGIN")
        _hold(hanging, send(0))
        assert do(store, put(0, 1)) == op.Deposited(1, new=True)
        with pytest.raises(psycopg.Error, match="idle-in-transaction"):
            hanging.execute("COMMIT")


def test_a_store_whose_connection_the_server_has_ended_opens_another(opening: Open, postgres: Server) -> None:
    store = opening()
    do(store, create(0))
    with psycopg.connect(postgres.url, autocommit=True) as other, ThreadPoolExecutor(1) as pool:
        other.execute("BEGIN")
        _hold(other, send(0))
        doing = pool.submit(do, store, put(0, 1))
        _until_waiting(postgres, store)
        other.execute("SELECT pg_terminate_backend(%s)", (store._raw.info.backend_pid,))
        other.execute("ROLLBACK")
        assert doing.result(30) == op.Deposited(1, new=True)


def test_who_waits_too_long_for_another_relay_is_told_and_has_changed_nothing(
    opening: Open, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opening()
    do(store, create(0))
    with psycopg.connect(postgres.url) as other:
        _hold(other, send(0))
        monkeypatch.setattr(limits, "MAILBOX_POSTGRES_SECONDS", 1)
        impatient = opening()
        with pytest.raises(StoreFailed, match="timeout; nothing was changed"):
            do(impatient, put(0, 1))
        other.rollback()
    assert do(impatient, put(0, 1)) == op.Deposited(1, new=True)
