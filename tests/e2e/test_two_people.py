"""The main job: two people behind NATs talk, and nothing is lost or shown twice."""

import pytest

from tests.e2e.compose import Project, can_connect

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

NODE_PORT, RELAY_PORT = 4201, 4101


def texts(demo: Project, service: str, contact: str) -> list[tuple[bool, str]]:
    """Return the conversation as (outgoing, text)."""
    messages = demo.covey(service, "history", contact, "--limit", "1000")["messages"]
    return [(one["outgoing"], one["text"]) for one in messages if one["kind"] == "text"]


def send(demo: Project, service: str, contact: str, text: str) -> dict[str, object]:
    """Send and wait until the other side has it."""
    view: dict[str, object] = demo.covey(service, "send", contact, text, "--wait", "delivered", "--timeout", "60s")
    return view


def statuses(demo: Project, service: str, contact: str, *wanted: str) -> list[str]:
    messages = demo.covey(service, "history", contact, "--limit", "1000")["messages"]
    return [one["status"] for one in messages if one["outgoing"] and one["text"] in wanted]


def test_the_nat_blocks_what_comes_from_outside(demo: Project) -> None:
    alice, alice_lan = f"{demo.prefix}.1.10", f"{demo.prefix}.1.0/24"
    relay, wan_of_alice = f"{demo.prefix}.0.20", f"{demo.prefix}.0.101"
    # The probe tells open from closed: her own router reaches her, and bob reaches the relay.
    assert demo.code_in("router-alice", "bash", "-c", f"</dev/tcp/{alice}/{NODE_PORT}") == 0
    assert can_connect(demo, "bob", relay, RELAY_PORT)
    assert not can_connect(demo, "bob", wan_of_alice, NODE_PORT)
    assert not can_connect(demo, "relay", wan_of_alice, NODE_PORT)
    # Not for want of a route: with one, alice's router still lets nobody in.
    demo.run_in("router-bob", "ip", "route", "add", alice_lan, "via", wan_of_alice)
    try:
        assert not can_connect(demo, "bob", alice, NODE_PORT)
    finally:
        demo.run_in("router-bob", "ip", "route", "del", alice_lan)


def test_the_two_know_each_other_after_the_start(demo: Project) -> None:
    for service, other in (("alice", "bob"), ("bob", "alice")):
        (contact,) = demo.covey(service, "contacts")["contacts"]
        assert (contact["alias"], contact["state"]) == (other, "accepted")


def test_the_words_of_the_readme_work_as_they_stand(demo: Project) -> None:
    said = demo.run_in("alice", "covey", "send", "bob", "hello")
    assert "delivered" in said
    (line,) = [line for line in demo.run_in("bob", "covey", "history", "alice").splitlines() if "hello" in line]
    assert "[delivered" in line


def test_a_message_is_delivered_each_way(demo: Project) -> None:
    there = send(demo, "alice", "bob", "are you there?")
    back = send(demo, "bob", "alice", "yes, I am")
    for view in (there, back):  # over the relay, until the hole is punched
        assert view["status"] == "delivered"
        assert view["path"] in {"relayed", "punched"}
    assert texts(demo, "alice", "bob")[-2:] == [(True, "are you there?"), (False, "yes, I am")]
    assert texts(demo, "bob", "alice")[-2:] == [(False, "are you there?"), (True, "yes, I am")]


def test_both_see_the_same_safety_number(demo: Project) -> None:
    alice, bob = demo.covey("alice", "verify", "bob"), demo.covey("bob", "verify", "alice")
    assert alice["safety_number"] == bob["safety_number"]
    assert len(alice["safety_number"].replace(" ", "")) == 60


def test_a_restart_of_the_receiver_loses_and_repeats_nothing(demo: Project) -> None:
    send(demo, "alice", "bob", "before bob's restart")
    demo.compose("stop", "bob")
    waiting = demo.covey("alice", "send", "bob", "while bob is away", "--wait", "none")
    assert waiting["status"] == "queued"
    demo.up("bob")
    send(demo, "alice", "bob", "after bob's restart")
    wanted = ["before bob's restart", "while bob is away", "after bob's restart"]
    assert [text for _, text in texts(demo, "bob", "alice") if text in wanted] == wanted
    assert statuses(demo, "alice", "bob", *wanted) == ["delivered"] * 3


def test_a_restart_of_the_sender_loses_and_repeats_nothing(demo: Project) -> None:
    demo.compose("stop", "bob")
    wanted = [f"kept over a restart, {number}" for number in range(5)]
    for text in wanted:
        assert demo.covey("alice", "send", "bob", text, "--wait", "none")["status"] == "queued"
    demo.compose("restart", "alice")
    demo.up("alice", "bob")
    send(demo, "alice", "bob", "and one more")
    send(demo, "bob", "alice", "all are here")
    assert [text for _, text in texts(demo, "bob", "alice") if text in wanted] == wanted
    assert statuses(demo, "alice", "bob", *wanted) == ["delivered"] * 5


def test_a_killed_node_comes_back_with_all_it_had(demo: Project) -> None:
    before = texts(demo, "bob", "alice")
    demo.compose("kill", "--signal", "KILL", "bob")
    demo.up("bob")
    assert texts(demo, "bob", "alice") == before
    send(demo, "alice", "bob", "after the kill")
    assert texts(demo, "bob", "alice") == [*before, (False, "after the kill")]


def test_a_restarted_relay_is_found_again(demo: Project) -> None:
    demo.compose("restart", "relay")
    demo.up()
    assert send(demo, "alice", "bob", "while the relay was away")["status"] == "delivered"
    demo.compose("restart", "alice", "bob")  # without it they would not meet again
    demo.up()
    assert send(demo, "alice", "bob", "over the relay that was away")["status"] == "delivered"
    assert send(demo, "bob", "alice", "it is back")["status"] == "delivered"


def test_everybody_stops_in_time_with_exit_code_zero(demo: Project) -> None:
    demo.compose("stop", "--timeout", "10", "introduce", "alice", "bob", "relay", "bootstrap")
    try:
        ends = {name: demo.inspect(name)["State"]["ExitCode"] for name in ("alice", "bob", "relay", "bootstrap")}
        assert ends == {"alice": 0, "bob": 0, "relay": 0, "bootstrap": 0}
    finally:
        demo.up()
    assert send(demo, "alice", "bob", "everything was stopped and started")["status"] == "delivered"
