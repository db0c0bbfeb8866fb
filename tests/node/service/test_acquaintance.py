"""Becoming contacts: invites that work once, requests that wait for a word, refusals that say why."""

import time
from pathlib import Path

import pytest

from covey_node.protocol.status import ContactState, Status
from covey_node.service.port import NotFound, Refused
from tests.support.people import (
    acquaint,
    empty_network,
    in_state,
    people,
    reaches,
    running_node,
    say,
    texts,
    until,
)

HOUR = 3600


async def test_an_invite_works_once(tmp_path: Path) -> None:
    network = empty_network()
    async with (
        running_node(tmp_path / "alice", network) as alice,
        running_node(tmp_path / "bob", network) as bob,
        running_node(tmp_path / "carol", network) as carol,
    ):
        invite = await alice.invite(label="a friend", valid_seconds=HOUR, one_use=True)
        assert invite.link is not None
        await bob.add(invite.link, alias="alice", intro="")
        await until(bob, lambda: in_state(bob, "alice", ContactState.ACCEPTED))
        await carol.add(invite.link, alias="alice", intro="")
        await until(carol, lambda: in_state(carol, "alice", ContactState.REFUSED))
        assert "already used" in str((await people(carol))["alice"].reason)
        assert set(await people(alice)) == {"a friend"}  # as alice labelled the invite
        assert [item.used_by for item in await alice.invites()] == ["a friend"]
        with pytest.raises(Refused, match="already used"):
            await say(carol, "alice", "let me in")


async def test_a_revoked_invite_is_refused_and_what_was_written_fails_with_the_reason(tmp_path: Path) -> None:
    network = empty_network()
    async with running_node(tmp_path / "alice", network) as alice, running_node(tmp_path / "bob", network) as bob:
        invite = await alice.invite(label="", valid_seconds=HOUR, one_use=True)
        assert invite.link is not None
        await alice.revoke_invite(invite.id)
        await bob.add(invite.link, alias="alice", intro="")
        early = await say(bob, "alice", "are you there?")
        failed = await reaches(bob, early, Status.FAILED)
        assert "taken back" in str(failed.reason)
        assert await people(alice) == {}


async def test_an_expired_invite_and_links_that_lead_nowhere_are_refused_at_once(tmp_path: Path) -> None:
    network = empty_network()
    long_ago = time.time() - 30 * 24 * HOUR
    async with running_node(tmp_path / "alice", network) as alice, running_node(tmp_path / "bob", network) as bob:
        invite = await alice.invite(label="", valid_seconds=HOUR, one_use=True)
        assert invite.link is not None
        with pytest.raises(Refused, match="your own"):
            await alice.add(invite.link, alias=None, intro="")
        with pytest.raises(Refused, match="invite"):
            await bob.add(network.to_link(), alias=None, intro="")
        with pytest.raises(Refused):
            await bob.add(invite.link[:-3], alias=None, intro="")
        with pytest.raises(NotFound):
            await bob.contact("nobody")
    async with (
        running_node(tmp_path / "early", network, now=lambda: long_ago) as early,
        running_node(tmp_path / "bob", network) as bob,
    ):
        old = await early.invite(label="", valid_seconds=HOUR, one_use=True)
        assert old.link is not None
        with pytest.raises(Refused, match="expired"):
            await bob.add(old.link, alias=None, intro="")


async def test_a_request_waits_until_it_is_accepted_and_then_brings_what_was_held_back(tmp_path: Path) -> None:
    network = empty_network()
    async with running_node(tmp_path / "alice", network) as alice, running_node(tmp_path / "bob", network) as bob:
        link = (await alice.invite(label="", valid_seconds=HOUR, one_use=False)).link
        assert link is not None
        await bob.add(link, alias=None, intro="we met at the fair")
        held = await say(bob, "alice", "nice to meet you")
        await until(alice, lambda: in_state(alice, "bob", ContactState.INCOMING))
        await until(bob, lambda: in_state(bob, "alice", ContactState.REQUESTED))
        (request,) = await alice.requests()
        assert request.intro == "we met at the fair"
        waiting = await bob.message(held)
        assert waiting.status is Status.QUEUED
        assert "has not accepted" in str(waiting.reason)
        with pytest.raises(Refused, match="requests accept"):
            await say(alice, "bob", "who are you?")
        await alice.accept("bob", alias="bob from the fair")
        await reaches(bob, held, Status.DELIVERED)
        assert await texts(alice, "bob from the fair") == ["nice to meet you"]
        assert (await people(bob))["alice"].state is ContactState.ACCEPTED


async def test_a_refused_request_tells_the_one_who_asked(tmp_path: Path) -> None:
    network = empty_network()
    async with running_node(tmp_path / "alice", network) as alice, running_node(tmp_path / "bob", network) as bob:
        link = (await alice.invite(label="", valid_seconds=HOUR, one_use=False)).link
        assert link is not None
        await bob.add(link, alias=None, intro="")
        await until(alice, lambda: in_state(alice, "bob", ContactState.INCOMING))
        await alice.refuse("bob")
        await until(bob, lambda: in_state(bob, "alice", ContactState.REFUSED))
        assert "refused" in str((await people(bob))["alice"].reason)
        assert await alice.requests() == ()


async def test_two_who_ask_each_other_at_once_become_contacts(tmp_path: Path) -> None:
    network = empty_network()
    async with running_node(tmp_path / "alice", network) as alice, running_node(tmp_path / "bob", network) as bob:
        to_alice = (await alice.invite(label="", valid_seconds=HOUR, one_use=False)).link
        to_bob = (await bob.invite(label="", valid_seconds=HOUR, one_use=False)).link
        assert to_alice is not None
        assert to_bob is not None
        await bob.add(to_alice, alias="alice", intro="")
        await alice.add(to_bob, alias="bob", intro="") if not await people(alice) else await alice.accept(
            "bob", alias=None
        )
        await until(bob, lambda: in_state(bob, "alice", ContactState.ACCEPTED))
        await until(alice, lambda: in_state(alice, "bob", ContactState.ACCEPTED))
        for number in range(3):
            await reaches(alice, await say(alice, "bob", f"a{number}"), Status.DELIVERED)
            await reaches(bob, await say(bob, "alice", f"b{number}"), Status.DELIVERED)
        assert await texts(bob, "alice") == await texts(alice, "bob")


async def test_a_blocked_contact_reaches_nobody_and_is_told_no_more(tmp_path: Path) -> None:
    network = empty_network()
    async with running_node(tmp_path / "alice", network) as alice, running_node(tmp_path / "bob", network) as bob:
        await acquaint(alice, bob)
        await alice.block("bob")
        failed = await reaches(bob, await say(bob, "alice", "hello?"), Status.FAILED)
        assert "takes no messages" in str(failed.reason)
        assert await texts(alice, "bob") == []
        with pytest.raises(Refused, match="blocked"):
            await say(alice, "bob", "hi")


async def test_aliases_are_the_users_and_unique(tmp_path: Path) -> None:
    network = empty_network()
    async with running_node(tmp_path / "alice", network) as alice, running_node(tmp_path / "bob", network) as bob:
        await acquaint(alice, bob)
        assert (await alice.rename("bob", "Robert")).alias == "Robert"
        account = (await alice.contact("robert")).account
        assert (await alice.contact(account[:8])).alias == "Robert"
        with pytest.raises(NotFound, match="Robert"):
            await alice.contact("bob")
        with pytest.raises(Refused):
            await alice.rename("Robert", " x")
