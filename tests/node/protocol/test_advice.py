"""Advice follows from facts: each rule where its condition holds, and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey_node.protocol.advice import NAT_WORDS, PUNCH_WORDS, for_contact, for_machine, punch_words
from covey_node.protocol.advice_facts import ContactFacts, MachineFacts
from covey_node.protocol.contact_advice import CONTACT
from covey_node.protocol.hops import hops
from covey_node.protocol.machine_advice import MACHINE
from covey_node.protocol.nat_kind import NatKind
from covey_node.protocol.paths import PathKind
from covey_node.protocol.punch_log import Reason
from covey_node.protocol.status import ContactState

WELL = MachineFacts(nat="easy", relays=2, relays_connected=2, relays_reserved=2, listens_udp=True, portmap="mapped")
BOB = ContactFacts(alias="bob", path=PathKind.PUNCHED, direct_addrs=2, relays=1)
RELAYED = replace(BOB, path=PathKind.RELAYED)
OFFLINE = replace(BOB, path=PathKind.NONE, tried="the relay has no slot for the contact")


def codes(facts: MachineFacts) -> set[str]:
    return {one.code for one in for_machine(facts)}


def contact_codes(machine: MachineFacts, contact: ContactFacts) -> set[str]:
    return {one.code for one in for_contact(machine, contact)}


MACHINES = {
    "no_relays_known": replace(WELL, relays=0, relays_connected=0, relays_reserved=0),
    "no_relay_connected": replace(WELL, relays_connected=0, relays_reserved=0, relay_reason="connection refused"),
    "no_reservation": replace(WELL, relays_reserved=0, relay_reason="the relay is full"),
    "one_relay_known": replace(WELL, relays=1, relays_connected=1, relays_reserved=1),
    "one_reservation": replace(WELL, relays_reserved=1, relay_reason="the relay is full"),
    "not_listening": replace(WELL, listens=False),
    "no_quic": replace(WELL, listens_udp=False),
    "udp_blocked": replace(WELL, nat="udp_blocked"),
    "announced_unreachable": replace(WELL, announced=True, announced_refuted=True),
    "mapping_unreachable": replace(WELL, refuted_addrs=1, mapped_refuted=True),
    "portmap_off": replace(WELL, portmap="off"),
    "hard_nat": replace(WELL, nat="hard", portmap="none"),
}
CONTACTS = {
    "waits_for_you": (WELL, replace(OFFLINE, state=ContactState.INCOMING)),
    "not_accepted": (WELL, replace(OFFLINE, state=ContactState.REQUESTED)),
    "no_device": (WELL, replace(OFFLINE, devices=0)),
    "unreached": (WELL, OFFLINE),
    "unreached_from_here": (replace(WELL, relays_reserved=0), OFFLINE),
    "our_hard_nat": (replace(WELL, nat="hard"), RELAYED),
    "their_hard_nat": (WELL, replace(RELAYED, their_nat="hard")),
    "no_public_addr": (WELL, replace(RELAYED, punch_outcome="failed", punch_reason="no_public_addr")),
    "no_common_transport": (WELL, replace(RELAYED, punch_outcome="failed", punch_reason="no_common_transport")),
    "dial_timeout": (WELL, replace(RELAYED, punch_outcome="failed", punch_reason="dial_timeout")),
    "dials_refused": (WELL, replace(RELAYED, punch_outcome="failed", punch_reason="refused", punch_attempts=3)),
    "peer_refused": (WELL, replace(RELAYED, punch_outcome="failed", punch_reason="refused")),
    "circuit_ended": (WELL, replace(RELAYED, punch_outcome="failed", punch_reason="relay_limit")),
    "old_peer": (WELL, replace(RELAYED, punch_outcome="failed", punch_reason="no_stream")),
    "slow_relay": (WELL, replace(RELAYED, punch_outcome="failed", punch_reason="sync_timeout")),
}


def test_nothing_is_advised_where_all_is_well() -> None:
    assert for_machine(WELL) == ()
    assert for_contact(WELL, BOB) == ()


@pytest.mark.parametrize("code", [rule.code for rule in MACHINE])
def test_each_rule_about_the_machine_holds_alone_where_only_its_condition_does(code: str) -> None:
    assert codes(MACHINES[code]) == {code}


@pytest.mark.parametrize("code", [rule.code for rule in CONTACT])
def test_each_rule_about_a_contact_holds_alone_where_only_its_condition_does(code: str) -> None:
    assert contact_codes(*CONTACTS[code]) == {code}


def test_a_reached_machine_needs_no_relay_and_no_mapping() -> None:
    public = MachineFacts(nat="none", relays=2, listens_udp=True, proven_addrs=1)
    assert codes(public) == set()
    assert codes(replace(public, nat="hard", portmap="off")) == set()


def test_nothing_is_said_of_the_nat_while_it_is_not_known() -> None:
    unknown = replace(WELL, nat="unknown", portmap="off")
    assert codes(unknown) == set()
    assert contact_codes(unknown, RELAYED) == set()


def test_the_reason_that_was_given_stands_in_the_words() -> None:
    (one,) = for_machine(MACHINES["no_relay_connected"])
    assert "(connection refused)" in one.words
    assert one.wrong
    (one,) = for_contact(*CONTACTS["unreached"])
    assert "bob" in one.words


def test_an_old_failure_is_no_advice_once_a_direct_path_stands() -> None:
    failed = replace(BOB, punch_outcome="failed", punch_reason="dial_timeout")
    assert for_contact(WELL, failed) == ()
    assert for_contact(WELL, replace(RELAYED, punch_outcome="success", punch_reason="dial_timeout")) == ()


def test_a_hard_nat_explains_a_timeout_so_nothing_else_is_guessed() -> None:
    failed = replace(RELAYED, punch_outcome="failed", punch_reason="dial_timeout")
    assert contact_codes(replace(WELL, nat="hard"), failed) == {"our_hard_nat"}


machines = st.builds(
    MachineFacts,
    nat=st.sampled_from(list(NAT_WORDS)),
    relays=st.integers(0, 3),
    relays_connected=st.integers(0, 3),
    relays_reserved=st.integers(0, 3),
    relay_reason=st.none() | st.just("why"),
    listens=st.booleans(),
    listens_udp=st.booleans(),
    proven_addrs=st.integers(0, 1),
    refuted_addrs=st.integers(0, 1),
    announced=st.booleans(),
    announced_refuted=st.booleans(),
    portmap=st.sampled_from(["off", "none", "mapped"]),
    mapped_refuted=st.booleans(),
)
contacts = st.builds(
    ContactFacts,
    state=st.sampled_from(ContactState),
    path=st.sampled_from(PathKind),
    devices=st.integers(0, 2),
    direct_addrs=st.integers(0, 2),
    relays=st.integers(0, 2),
    relayed=st.booleans(),
    tried=st.none() | st.just("no answer"),
    punch_outcome=st.sampled_from([None, "success", "failed", "cancelled", "direct"]),
    punch_reason=st.sampled_from([None, *PUNCH_WORDS]),
    punch_attempts=st.integers(0, 4),
    their_nat=st.sampled_from(list(NAT_WORDS)),
)


@given(machines, contacts)
def test_what_is_wrong_comes_first_and_every_way_has_its_steps(machine: MachineFacts, contact: ContactFacts) -> None:
    for found in (for_machine(machine), for_contact(machine, contact)):
        assert [one.wrong for one in found] == sorted((one.wrong for one in found), reverse=True)
        assert len({one.code for one in found}) == len(found)
    steps = hops(machine, contact)
    assert [step.code for step in steps] == ["here", "nat", "contact", "addresses", "direct", "relayed"]
    reached = contact.path is not PathKind.NONE
    assert any(step.ok for step in steps if step.code in {"direct", "relayed"}) == reached
    if reached:
        assert not {"unreached", "unreached_from_here"} & contact_codes(machine, contact)


def test_all_that_metrics_name_has_words() -> None:
    assert set(NAT_WORDS) == {kind.value for kind in NatKind}
    assert {reason.value for reason in Reason} == set(PUNCH_WORDS)
    for outcome in ("success", "failed", "cancelled", "direct"):
        assert punch_words(outcome, None)


def test_the_steps_say_where_it_ends() -> None:
    steps = {step.code: step for step in hops(replace(WELL, relays_reserved=0, relay_reason="refused"), OFFLINE)}
    assert (steps["here"].ok, steps["here"].words) == (False, "no relay keeps a slot: refused")
    assert steps["addresses"].words == "known: 2 direct addresses and 1 relay of theirs"
    assert steps["direct"].words == "none; what was tried stands below"
    assert steps["relayed"].words == "none: the relay has no slot for the contact"
    steps = {step.code: step for step in hops(WELL, CONTACTS["dial_timeout"][1])}
    assert (steps["direct"].ok, steps["direct"].words) == (False, "hole punching failed: no packet came through")
    assert steps["relayed"].ok is True
    steps = {step.code: step for step in hops(WELL, BOB)}
    assert (steps["relayed"].ok, steps["relayed"].words) == (None, "not needed now")


def test_one_relay_is_said_to_hide_the_kind_of_the_nat_only_where_it_does() -> None:
    facts = MACHINES["one_relay_known"]
    assert "NAT" not in for_machine(facts)[0].words
    assert "NAT" in for_machine(replace(facts, nat="unknown"))[0].words
