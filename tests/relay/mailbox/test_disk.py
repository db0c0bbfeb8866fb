"""A disk that fills up, a file that is damaged, a file that somebody else uses."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from covey_core.errors import FileDamaged
from covey_core.network import Network, new_network, save_network
from covey_core.wire import mailbox as m
from covey_relay.limits import MailboxLimits
from covey_relay.mailbox import operations as op
from covey_relay.mailbox.disk import Disk
from covey_relay.mailbox.operations import Refusal, StoreFailed
from covey_relay.mailbox.sqlite import SqliteStore
from tests.relay.mailbox.test_store import (
    BOUNDS,
    DAY,
    KEY,
    LARGE,
    NOW,
    RECV,
    SEND,
    SMALL,
    WRITER,
    created,
    do,
    mid,
    put,
)
from tests.relay.mailbox.world import mailbox_relay
from tests.relay.test_process import environment
from tests.support import mailbox_client as client

MIB = 2**20
WIDE = MailboxLimits(queue_messages=100_000, queue_bytes=2**40, disk_bytes=2**30)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 MiB; a part of 8 MiB is left free on it."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"a disk cannot be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def free(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def fill(store: SqliteStore, number: int = 0) -> int:
    """Deposit until the store refuses; return how many messages it took."""
    first = number
    while True:
        done = store.apply([put(number + n, size=LARGE) for n in range(8)], now=NOW)
        taken = [one for one in done if isinstance(one, op.Deposited)]
        number += len(taken)
        if len(taken) < 8:
            assert set(done[len(taken) :]) == {Refusal.DISK}
            return number - first


def fetch_all(store: SqliteStore) -> list[bytes]:
    got = do(store, op.Fetch(RECV, 0, 100_000, 2**40))
    assert isinstance(got, op.Fetched)
    return [one.mid for one in got.messages]


# --- a full disk ------------------------------------------------------------------------------------------------------


def test_mailboxes_that_have_filled_the_disk_take_no_more_and_all_else_goes_on(small_disk: Path) -> None:
    store = SqliteStore(small_disk / "mailboxes.db", WIDE)
    created(store)
    taken = fill(store)
    assert taken > 200
    assert 4 * MIB < free(small_disk) <= 8 * MIB
    usage = store.usage()
    known = Disk(cap_bytes=WIDE.disk_bytes)
    known.measured(usage, now=0.0)
    assert known.ratio > 0.99
    assert usage.used_bytes < 64 * MIB
    assert do(store, op.Create(bytes(32), m.AdmitOpen(), bytes(24), bytes(24))) is Refusal.DISK
    mids = fetch_all(store)
    assert len(mids) == taken
    for start in range(0, 100, 10):
        assert do(store, op.Acknowledge(RECV, tuple(mids[start : start + 10]))) == 10
    assert free(small_disk) > 2 * MIB
    assert fill(store, 10_000) > 80  # into what is free in the file
    lying = store.usage().messages
    assert do(store, op.Expire(100_000), NOW + 3 * DAY) == op.Expired(lying, 0, more=False)
    while store.give_back(bytes_max=4 * MIB):
        pass
    assert free(small_disk) > 56 * MIB
    assert sum(path.stat().st_size for path in small_disk.iterdir()) < MIB
    assert store.usage().missing_bytes < WIDE.disk_bytes
    assert fill(store, 20_000) > 200
    store.close()


def test_a_disk_that_others_have_filled_to_the_last_byte_still_lets_messages_be_read(small_disk: Path) -> None:
    store = SqliteStore(small_disk / "mailboxes.db", WIDE)
    created(store)
    store.apply([put(n) for n in range(20)], now=NOW)
    with (small_disk / "others").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free(small_disk))
    assert free(small_disk) == 0
    for n in range(20, 40):
        assert do(store, put(n)) is Refusal.DISK
    assert store.apply([op.Expire(10), put(50), op.Remove(RECV)], now=NOW + 3 * DAY) == [
        op.Expired(0, 0, more=False),
        Refusal.DISK,
        Refusal.DISK,
    ]
    assert fetch_all(store) == [mid(n) for n in range(20)]
    assert do(store, op.Held(SEND, (mid(3), mid(30)))) == (mid(3),)
    got = do(store, op.Fetch(RECV, 0, 1, 1), NOW + DAY // 2)  # notes the day on which the owner asked, elsewhen
    assert isinstance(got, op.Fetched)
    (small_disk / "others").unlink()
    assert do(store, put(20)) == op.Deposited(21, new=True)
    assert do(store, op.Acknowledge(RECV, (mid(1),))) == 1
    assert len(fetch_all(store)) == 20
    store.close()


async def test_a_full_disk_is_busy_to_writers_and_not_to_readers(small_disk: Path, public: Network) -> None:
    async with mailbox_relay(public, small_disk / "mailboxes.db") as relay:
        bob, alice = await relay.client(), await relay.client()
        ids = await bob.new("bob", m.AdmitKey(client.verify_key("alice")))
        put_one = m.Put(ids.send_id, client.mid(1), DAY, client.BLOB)
        assert await alice.ask(put_one, client.key("alice")) == m.Stored(1)
        with (small_disk / "others").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, free(small_disk) - 2 * MIB)
        refused = await alice.ask(m.Put(ids.send_id, client.mid(2), DAY, client.BLOB), client.key("alice"))
        assert isinstance(refused, m.Refused)
        assert refused.reason is m.Reason.BUSY
        assert await alice.ask(put_one, client.key("alice")) == m.Stored(1)
        got = await bob.ask(m.Get(ids.recv_id, 0, 9), client.key("bob"))
        assert got == m.Messages((m.StoredMessage(1, client.mid(1), client.BLOB),))
        assert await bob.ask(m.Ack(ids.recv_id, (client.mid(1),)), client.key("bob")) == m.Done()
        assert await bob.ask(m.Get(ids.recv_id, 0, 9), client.key("bob")) == m.Messages(())


# --- a damaged file ---------------------------------------------------------------------------------------------------


def test_a_relay_whose_mailboxes_are_damaged_says_what_to_do_and_does_not_start(tmp_path: Path) -> None:
    save_network(tmp_path / "network.json", new_network("home", private=True, subnets=("127.0.0.0/8",)))
    (tmp_path / "mailboxes.db").write_bytes(b"no database at all" * 1000)
    done = subprocess.run(
        [sys.executable, "-m", "covey_relay", "run"],
        env=environment(tmp_path), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "mailboxes.db" in done.stderr
    assert "keep a copy of the file" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_damaged_page_is_told_and_the_rest_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "mailboxes.db"
    store = SqliteStore(path, WIDE)
    created(store)
    other = op.Create(bytes(32), m.AdmitKey(WRITER), bytes([8]) * 24, bytes([9]) * 24)
    do(store, other)
    store.apply([put(n) for n in range(100)], now=NOW)
    in_other = op.Deposit(bytes([9]) * 24, mid(1), bytes(SMALL), NOW + DAY, WRITER)
    assert do(store, in_other) == op.Deposited(1, new=True)
    (root,) = store._raw.execute("SELECT rootpage FROM sqlite_master WHERE name = 'messages'").fetchone()
    (first,) = store._raw.execute("SELECT count(*) FROM messages").fetchone()
    assert (root > 1, first) == (True, 101)
    page_bytes, store_path = store._page_bytes, path
    leaf = _leaf_of_first_message(store)
    store.close()
    with store_path.open("r+b") as file:
        file.seek((leaf - 1) * page_bytes)
        file.write(b"\xff" * page_bytes)
    store = SqliteStore(path, WIDE)
    with pytest.raises(FileDamaged, match="senders deposit again"):
        fetch_all(store)
    got = do(store, op.Fetch(bytes([8]) * 24, 0, 9, 10**9))
    assert isinstance(got, op.Fetched)
    assert [one.mid for one in got.messages] == [mid(1)]
    store.close()


def _leaf_of_first_message(store: SqliteStore) -> int:
    """The page of the table's first leaf: the root's first cell names it (sqlite.org/fileformat2.html, 1.6)."""
    store._raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    (root,) = store._raw.execute("SELECT rootpage FROM sqlite_master WHERE name = 'messages'").fetchone()
    page = Path(store._path).read_bytes()[(root - 1) * store._page_bytes : root * store._page_bytes]
    assert page[0] == 5, "the table has one page only"
    cell = int.from_bytes(page[12:14], "big")
    return int.from_bytes(page[cell : cell + 4], "big")


# --- a file that somebody uses ----------------------------------------------------------------------------------------


def test_a_file_is_used_by_one_relay(tmp_path: Path) -> None:
    path = tmp_path / "mailboxes.db"
    store = SqliteStore(path, BOUNDS)
    with pytest.raises(StoreFailed, match="another relay"):
        SqliteStore(path, BOUNDS)
    assert do(store, op.Create(KEY, m.AdmitOpen(), RECV, SEND)) == op.Created(RECV, SEND)
    store.close()
    store.close()
    again = SqliteStore(path, BOUNDS)
    assert again.usage().queues == 1
    again.close()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreFailed, match="nowhere"):
        SqliteStore(tmp_path / "nowhere" / "mailboxes.db", BOUNDS)
