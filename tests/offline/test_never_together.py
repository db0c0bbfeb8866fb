"""From the invite to the last message: two people who are never online at the same time.

The tests of this file are one story and run in this order.
"""

import pytest

from tests.offline.people import RELAYS, People

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

QUORUM = 2  # of three relays
MEETINGS = 5  # times that each looks in until receipts have come, which wait some seconds for others
WRITTEN = (
    "see you next week",
    "one relay dies now",
    "past the silent relay",
    "a disk is lost now",
)


def test_people_become_contacts_although_a_relay_is_dead_from_the_start(people: People) -> None:
    people.docker("kill", "relay-three")
    with people.online("bob"):
        people.wait(lambda: _standing(people, "bob", "invites") >= QUORUM, "bob's queues for invited people stand")
        link = people.covey("bob", "invite", "--for", "alice")["link"]
    with people.online("alice"):
        people.covey("alice", "add", link, "--as", "bob")
        people.wait(
            lambda: "lies at 2 of 2" in str(people.contact("alice", "bob")["reason"]),
            "the request lies at both living relays",
            last=lambda: str(people.contact("alice", "bob")),
        )
    with people.online("bob"):
        people.wait(lambda: people.contact("bob", "alice")["state"] == "accepted", "bob has the request")
        people.leave("bob", "alice", "welcome")
    with people.online("alice"):
        people.wait(lambda: people.contact("alice", "bob")["state"] == "accepted", "alice has the answer")
        people.wait_for_texts("alice", "bob", ["welcome"])


def test_a_message_waits_at_the_relays(people: People) -> None:
    with people.online("alice"):
        view = people.leave("alice", "bob", WRITTEN[0])
        assert view["copies"]["stored"] >= QUORUM
    with people.online("bob"):
        people.wait_for_texts("bob", "alice", [WRITTEN[0]])


def test_a_relay_that_comes_to_life_takes_the_third_copy(people: People) -> None:
    people.docker("start", "relay-three")
    with people.online("bob"):
        people.wait(lambda: _standing(people, "bob", "contact") == len(RELAYS), "bob's queues stand at all three")
        people.leave("bob", "alice", "there are three now")
    with people.online("alice"):
        people.wait_for_texts("alice", "bob", ["welcome", "there are three now"])
        people.leave("alice", "bob", WRITTEN[1])

        def copies() -> object:
            return people.sent("alice", "bob", WRITTEN[1])["copies"]

        people.wait(lambda: copies() == {"stored": 3, "of": 3}, "three copies lie there", last=lambda: str(copies()))


def test_a_relay_that_is_killed_with_the_message_costs_nothing(people: People) -> None:
    people.docker("kill", "relay")
    try:
        with people.online("bob"):
            people.wait_for_texts("bob", "alice", list(WRITTEN[:2]))
    finally:
        people.docker("start", "relay")


def test_a_relay_that_falls_silent_costs_nothing(people: People) -> None:
    people.docker("pause", "relay-two")
    try:
        with people.online("alice"):
            people.leave("alice", "bob", WRITTEN[2])
        with people.online("bob"):
            people.wait_for_texts("bob", "alice", list(WRITTEN[:3]))
    finally:
        people.docker("unpause", "relay-two")


def test_a_relay_that_lost_its_disk_costs_nothing(people: People) -> None:
    with people.online("alice"):
        people.leave("alice", "bob", WRITTEN[3])
    people.run_in("relay-two", "sh", "-c", "rm -r /data/mailbox*")
    people.docker("kill", "relay-two")
    people.docker("start", "relay-two")
    with people.online("bob"):
        people.wait_for_texts("bob", "alice", list(WRITTEN))


def test_the_sender_sees_everything_delivered_and_it_was_shown_once_and_in_order(people: People) -> None:
    for number in range(MEETINGS):
        with people.online("bob"):
            people.leave("bob", "alice", f"all is well, {number}")
        with people.online("alice"):
            people.wait(lambda: people.texts("alice", "bob")[-1] == f"all is well, {number}", "alice has bob's news")  # noqa: B023 - called at once
            open_ones = [text for text in WRITTEN if people.sent("alice", "bob", text)["status"] != "delivered"]
        if not open_ones:
            break
    assert not open_ones
    with people.online("bob"):
        assert people.texts("bob", "alice") == list(WRITTEN)


def _standing(people: People, name: str, purpose: str) -> int:
    """Return at how many relays a person's queue for this stands."""
    found = [one for one in people.covey(name, "mailbox")["sets"] if one["purpose"] == purpose]
    return sum(queue["state"] == "standing" for one in found for queue in one["queues"])
