"""kill -9 in the middle of a storm of deposits: what was answered is there, in both stores, whoever was killed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio

from covey_core.errors import StreamLost
from covey_core.host import Host
from covey_core.network import Network, new_network, save_network
from covey_core.wire import mailbox as m
from covey_relay.mailbox import operations as op
from tests.relay.conftest import host_on
from tests.relay.mailbox import storm
from tests.relay.test_process import running
from tests.support.mailbox_client import MailboxClient, key, verify_key
from tests.support.postgres import Server

ROOT = Path(__file__).parents[3]
LIVES = 3


@pytest.fixture(params=["sqlite", "postgres"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the mailboxes lie: a path or a URL."""
    if request.param == "sqlite":
        return str(tmp_path / "mailboxes.db")
    server: Server = request.getfixturevalue("postgres")
    return server.url


# --- the store and its line -------------------------------------------------------------------------------------------


def answered_until(where: str, life: int, count: int, kill: Callable[[subprocess.Popen[bytes]], None]) -> set[str]:
    """Let a storm rage until so many deposits were answered, then kill; return all that were."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.relay.mailbox.storm", where, str(life)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(count)]
    kill(process)
    lines += process.stdout.readlines()
    process.stdout.close()
    assert process.wait(30) != 0
    return {line.decode().strip() for line in lines if line.endswith(b"\n")}


def there(where: str) -> set[str]:
    """The messages in the store, each whole, numbered without a gap, counted right."""
    found: set[str] = set()
    store = storm.opened(where)
    try:
        for task in range(storm.TASKS):
            (fetched,) = store.apply([op.Fetch(storm.recv_id(task), 0, 10**6, 2**40)], now=1)
            assert isinstance(fetched, op.Fetched)
            assert [one.seq for one in fetched.messages] == list(range(1, len(fetched.messages) + 1))
            assert all(one.blob == storm.blob_of(one.mid) for one in fetched.messages)
            found |= {one.mid.hex() for one in fetched.messages}
        assert store.usage().messages == len(found)
    finally:
        store.close()
    return found


def test_every_deposit_that_was_answered_is_there_after_the_relay_was_killed(where: str) -> None:
    answered: set[str] = set()
    for life in range(LIVES):
        answered |= answered_until(where, life, 300 + 100 * life, lambda process: process.kill())
    assert len(answered) >= 1200
    assert answered - there(where) == set()


def test_every_deposit_that_was_answered_is_there_after_the_database_was_killed(postgres: Server) -> None:
    answered: set[str] = set()
    for life in range(LIVES):
        answered |= answered_until(postgres.url, life, 300, lambda _: postgres.kill())
        postgres.start()
    assert answered - there(postgres.url) == set()


# --- the whole relay --------------------------------------------------------------------------------------------------


@dataclass
class Sender:
    """A client that deposits without waiting, in a queue of its own, and notes what was answered."""

    name: str
    ids: m.Ids | None = None
    asked: dict[int, bytes] = field(default_factory=dict)
    stored: set[bytes] = field(default_factory=set)
    last: int = 0
    noted: Callable[[], None] = lambda: None

    async def open(self, host: Host, network: Network) -> MailboxClient:
        (relay,) = network.relays
        await host.connect(relay.peer, relay.addrs)
        return await MailboxClient.open(host, relay.peer)

    async def send(self, client: MailboxClient) -> None:
        """Deposit until the stream is lost."""
        self.ids = await client.new(self.name, m.AdmitKey(verify_key(self.name)))
        self.asked.clear()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._note, client)
            while True:
                self.last += 1
                mid = self.last.to_bytes(16, "big")
                self.asked[client.last_id + 1] = mid
                await client.send(m.Put(self.ids.send_id, mid, 86_400, storm.blob_of(mid)), key(self.name))

    async def _note(self, client: MailboxClient) -> None:
        while (said := await client.read()) is not None:
            assert isinstance(said.answer, m.Stored), said.answer
            self.stored.add(self.asked[said.id])
            self.noted()
        raise StreamLost("the relay is gone")

    async def fetch(self, client: MailboxClient) -> set[bytes]:
        """All that lies in the queue, each whole, in order and once."""
        assert self.ids is not None
        found: list[m.StoredMessage] = []
        more = True
        while more:
            page = await client.ask(m.Get(self.ids.recv_id, found[-1].seq if found else 0, 1024), key(self.name))
            assert isinstance(page, m.Messages)
            found += page.messages
            more = page.more
        assert [one.seq for one in found] == list(range(1, len(found) + 1))
        assert all(one.blob == storm.blob_of(one.mid) for one in found)
        assert len({one.mid for one in found}) == len(found)
        return {one.mid for one in found}


async def enough(senders: list[Sender], count: int) -> None:
    """Wait until so many more deposits were answered."""
    reached = trio.Event()
    wanted = sum(len(one.stored) for one in senders) + count

    def noted() -> None:
        if sum(len(one.stored) for one in senders) >= wanted:
            reached.set()

    for one in senders:
        one.noted = noted
    await reached.wait()


@pytest.fixture
def settings(where: str) -> dict[str, str]:
    """Settings of a relay that lets a few senders do as much as they can."""
    named = {"mailbox_database" if "://" in where else "mailbox_file": where}
    return {
        **named, "mailbox_queue_messages": "100000", "mailbox_queue_bytes": str(2**30),
        "mailbox_peer_rate": "1000000", "mailbox_peer_burst": "10000000",
    }  # fmt: skip


async def test_every_put_that_was_answered_is_there_after_the_relays_process_was_killed(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    network = new_network("home", private=True, subnets=("127.0.0.0/8",))
    save_network(tmp_path / "network.json", network)
    senders = [Sender(name) for name in ("ann", "ben", "cleo")]

    async def rage(sender: Sender, joined: Network) -> None:
        try:
            async with host_on(joined) as host:
                await sender.send(await sender.open(host, joined))
        except* StreamLost:
            pass

    for _ in range(2):
        async with running(tmp_path, **settings) as relay:
            joined = Network.from_link(await relay.line())
            async with trio.open_nursery() as nursery:
                for sender in senders:
                    nursery.start_soon(rage, sender, joined)
                await enough(senders, 150)
                relay.process.kill()
    async with running(tmp_path, **settings) as relay:
        joined = Network.from_link(await relay.line())
        for sender in senders:
            async with host_on(joined) as host:
                found = await sender.fetch(await sender.open(host, joined))
            assert sender.stored - found == set()
        assert await relay.ends() == 0
    assert sum(len(one.stored) for one in senders) >= 300
