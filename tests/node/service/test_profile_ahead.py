"""Public profiles for the days to come: what is left at relays, and taken back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from covey_core.errors import StreamLost
from covey_core.network import Network
from covey_core.peers import PeerId
from covey_core.wire.ahead import (
    AheadAnswer,
    AheadOutcome,
    AheadRequest,
    Leave,
    Withdraw,
    verify_ahead,
    verify_withdrawal,
)
from covey_node import crypto, limits
from covey_node.protocol.profile import PublicProfile
from covey_node.service import profiles
from covey_node.service.profile_ahead import ProfileAhead
from covey_node.service.profiles import Profiles
from tests.node.protocol.test_invite import with_mailboxes
from tests.support.away import Side, away_side

INVITE = with_mailboxes()
PROFILE = PublicProfile(1_800_000_000, "alice", INVITE.mailboxes)


class Relays:
    """Takes what is left as a relay does, unless it is down."""

    def __init__(self) -> None:
        self.asked: list[tuple[PeerId, AheadRequest]] = []
        self.down: set[PeerId] = set()
        self.lying: dict[tuple[PeerId, bytes], int] = {}

    async def ask(self, _: Network, relay: PeerId, _addrs: Sequence[str], request: AheadRequest) -> AheadAnswer:
        if relay in self.down:
            raise StreamLost("it is down")
        self.asked.append((relay, request))
        if isinstance(request, Withdraw):
            verify_withdrawal(request, relay=relay)
            there = self.lying.pop((relay, request.day_key), 0)
            assert there <= request.sequence
            return AheadAnswer(AheadOutcome.DONE)
        _, record = verify_ahead(request.value)
        assert record.sequence > self.lying.get((relay, record.day_key), 0)
        self.lying[relay, record.day_key] = record.sequence
        return AheadAnswer(AheadOutcome.ADDED)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "AHEAD_PAUSE_SECONDS", 0)


def ahead_of(side: Side, relays: Relays) -> ProfileAhead:
    return ProfileAhead(side.ledger, side.own, INVITE.network, ask=relays.ask)


def opened(side: Side, request: AheadRequest) -> tuple[int, PublicProfile]:
    """The day of what was left, and what whoever knows the account reads in it."""
    assert isinstance(request, Leave)
    day, record = verify_ahead(request.value)
    share = crypto.profile_share(side.own.account_key)
    assert share.blinded_key(day) == record.day_key
    return day, PublicProfile.decode(share.open(day, record.ciphertext), INVITE.network)


async def test_thirty_days_lie_at_two_relays_and_whoever_knows_the_account_reads_them(tmp_path: Path) -> None:
    relays = Relays()
    async with away_side(tmp_path / "alice", INVITE.network, running=()) as alice:
        assert await ahead_of(alice, relays).keep(PROFILE)
        found = [(relay, *opened(alice, request)) for relay, request in relays.asked]
        today = crypto.day_of(alice.own.now())
        per_relay = {relay: sorted(day for at, day, _ in found if at == relay) for relay, _, _ in found}
        assert list(per_relay.values()) == [list(range(today + 1, today + 31))] * limits.PROFILE_AHEAD_RELAYS
        assert {profile for _, _, profile in found} == {PROFILE}
        assert len({request.value for _, request in relays.asked if isinstance(request, Leave)}) == len(found)
        relays.asked.clear()
        assert await ahead_of(alice, relays).keep(PROFILE)
        assert not relays.asked


async def test_a_relay_that_was_down_gets_its_days_later(tmp_path: Path) -> None:
    relays = Relays()
    async with away_side(tmp_path / "alice", INVITE.network, running=()) as alice:
        relays.down = {one.peer for one in INVITE.network.relays}
        assert not await ahead_of(alice, relays).keep(PROFILE)
        relays.down.clear()
        assert await ahead_of(alice, relays).keep(PROFILE)
        assert len(relays.lying) == 60


async def test_another_profile_replaces_what_lies_there_and_not_too_often(tmp_path: Path) -> None:
    relays, clock = Relays(), [1_800_000_000.0]
    async with away_side(tmp_path / "alice", INVITE.network, running=(), now=lambda: clock[0]) as alice:
        ahead = ahead_of(alice, relays)
        assert await ahead.keep(PROFILE)
        other = replace(PROFILE, name="alice b", made=PROFILE.made + 1)
        relays.asked.clear()
        assert await ahead.keep(other)
        assert not relays.asked
        clock[0] += limits.AHEAD_AGAIN_SECONDS
        assert await ahead.keep(other)
        assert {opened(alice, request)[1] for _, request in relays.asked} == {other}
        assert len(relays.lying) == 60


async def test_a_hidden_profile_is_taken_back_everywhere_and_may_come_again(tmp_path: Path) -> None:
    relays = Relays()
    async with away_side(tmp_path / "alice", INVITE.network, running=()) as alice:
        assert await ahead_of(alice, relays).keep(PROFILE)
        down, *_ = {relay for relay, _ in relays.lying}
        relays.down = {down}
        assert not await ahead_of(alice, relays).keep(None)
        assert {relay for relay, _ in relays.lying} == {down}
        relays.down.clear()
        assert await ahead_of(alice, relays).keep(None)
        assert not relays.lying
        assert await ahead_of(alice, relays).keep(PROFILE)
        assert len(relays.lying) == 60


async def test_that_a_profile_is_hidden_is_told_for_three_days_and_then_nothing_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, tries = [1_800_000_000.0], list[float]()

    def exchange(_: Network) -> None:
        tries.append(clock[0])
        raise StreamLost("there is no network")

    monkeypatch.setattr(profiles, "open_record_exchange", exchange)
    async with away_side(tmp_path / "alice", INVITE.network, running=(), now=lambda: clock[0]) as alice:
        ours = Profiles(alice.ledger, alice.own, INVITE.network, None)
        await ours._keep()
        assert not tries  # who never had one tells nothing
        await ours.want(published=False)
        assert tries == [clock[0]]
        clock[0] += limits.PROFILE_HIDING_SECONDS
        await ours._keep()
        assert len(tries) == 1
