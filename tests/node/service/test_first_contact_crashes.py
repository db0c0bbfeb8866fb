"""A side that dies at any commit point of a first contact loses nothing, and nobody becomes a contact twice."""

from __future__ import annotations

import math
import shutil
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from covey_core.network import Network
from covey_node import limits
from covey_node.protocol.status import ContactState
from covey_node.store import queues
from covey_node.store.queues import Purpose
from tests.node.service.test_first_contact_away import invited, relays_of
from tests.support.away import Side, away_side

POINTS_MAX = 40


class Died(BaseException):
    """The process ended here."""


class Deadly:
    """Ends a side at its `point`-th commit point, before or after the COMMIT, and at every later one."""

    def __init__(self, point: float) -> None:
        self.point = point
        self.count = 0

    def __call__(self, _: object) -> None:
        self.count += 1
        if self.count >= self.point:
            raise Died


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REQUEST_HEAD_START_SECONDS", 0)
    monkeypatch.setattr(limits, "REQUEST_MAILBOXES_SECONDS", 0)


async def lives(
    home: Path,
    network: Network,
    deadly: Deadly,
    part: Callable[[Side], Awaitable[None]],
    running: Sequence[str] = ("contact_queues", "newcomer"),
) -> bool:
    """Run one side's part; whether it came to its end."""
    done = False
    with suppress(BaseException):
        async with away_side(home, network, on_commit=deadly, running=running) as side:
            await part(side)
            done = True
    if not done and deadly.count < deadly.point:
        raise AssertionError("it ended for another reason")
    return done


async def test_a_newcomer_killed_at_any_commit_point_still_leaves_its_request(tmp_path: Path) -> None:
    async with relays_of(tmp_path, 1) as (network, _):
        async with away_side(tmp_path / "alice", network) as alice:
            links = [await invited(alice, label=f"bob {point}") for point in range(1, POINTS_MAX)]
        for point, link in enumerate(links, start=1):

            async def add(bob: Side, link: str = link) -> None:
                if "alice" not in await bob.people():
                    await bob.acquaintance.add(link, alias="alice", intro="")
                await bob.until_stored("alice", 1, 1)

            home = tmp_path / f"bob {point}"
            if await lives(home, network, Deadly(point), add):
                break
            assert await lives(home, network, Deadly(math.inf), add)
        async with away_side(tmp_path / "alice", network) as alice:
            await alice.collect()
            people = {name: row.state for name, row in (await alice.people()).items()}
            assert people == {f"bob {number}": ContactState.ACCEPTED for number in range(1, point + 1)}
        assert 10 <= point < POINTS_MAX - 1


async def test_an_owner_killed_at_any_commit_point_opens_a_request_once(tmp_path: Path) -> None:
    async with relays_of(tmp_path, 1) as (network, _):
        async with away_side(tmp_path / "alice", network) as alice:
            link = await invited(alice)
        async with away_side(tmp_path / "bob", network) as bob:
            await bob.acquaintance.add(link, alias="alice", intro="")
            await bob.until_stored("alice", 1, 1)
            (packet,) = await bob.ledger.read(lambda tx: tx.all("SELECT packet FROM deliveries"))

        async def take(alice: Side) -> None:
            row = await alice.ledger.read(lambda tx: queues.set_for(tx, Purpose.INVITES))
            assert row is not None
            await alice.contact_queues.take(row, [bytes(packet[0])])

        for point in range(1, POINTS_MAX):
            home = tmp_path / f"alice {point}"
            shutil.copytree(tmp_path / "alice", home)
            shutil.copy(tmp_path / "alice.secret", tmp_path / f"alice {point}.secret")
            died = not await lives(home, network, Deadly(point), take, running=())
            if died:
                assert await lives(home, network, Deadly(math.inf), take, running=())
            async with away_side(home, network, running=()) as alice:
                assert {name: row.state for name, row in (await alice.people()).items()} == {
                    "bob": ContactState.ACCEPTED
                }
                assert len(await alice.ledger.read(lambda tx: tx.all("SELECT id FROM sessions"))) == 1
            if not died:
                break
        assert 3 <= point < POINTS_MAX


async def test_pairs_are_offered_once_whatever_commit_point_their_owner_died_at(tmp_path: Path) -> None:
    async with relays_of(tmp_path, 1) as (network, relays):
        async with away_side(tmp_path / "alice", network, running=()) as alice:
            await alice.make_queues()

        async def stock(alice: Side) -> None:
            await alice.stocked()

        point = 1
        while not await lives(tmp_path / "alice", network, Deadly(point), stock):
            point += 1
        pairs = [key for relay in relays for one in relay.seen for key in getattr(one.command, "keys", ())]
        assert len(pairs) == len(set(pairs)) >= 2 * limits.CONTACT_STOCK_PAIRS
        assert point >= 6
