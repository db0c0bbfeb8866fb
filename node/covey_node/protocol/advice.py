"""What a user could change, from facts; what a NAT kind and the end of a hole punch mean in words.

Owns: the order of advice, those words. Pure functions. The rules are machine_advice.py and contact_advice.py.
Never touches: how the facts are found (service/doctor.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from covey_node.protocol.advice_facts import Advice, ContactFacts, MachineFacts
from covey_node.protocol.contact_advice import CONTACT
from covey_node.protocol.machine_advice import MACHINE


def for_machine(facts: MachineFacts) -> tuple[Advice, ...]:
    """Return what could be changed on this machine, what is wrong first."""
    return _wrong_first(rule.advice(facts) for rule in MACHINE if rule.holds(facts))


def for_contact(machine: MachineFacts, contact: ContactFacts) -> tuple[Advice, ...]:
    """Return what could be changed about the way to a contact, what is wrong first."""
    pair = machine, contact
    return _wrong_first(rule.advice(pair) for rule in CONTACT if rule.holds(pair))


NAT_WORDS: Final = {
    "none": "no NAT: this machine has a public address of its own",
    "easy": "one port for all destinations: holes can be punched to it",
    "hard": "another port for every destination: holes can hardly be punched to it, relays help",
    "udp_blocked": "UDP does not get out: direct connections over TCP only",
    "unknown": "not known yet: two others outside, such as relays, have to see this machine first",
}
"""What a NAT kind means."""

PUNCH_WORDS: Final = {
    "no_reservation": "no relay keeps a slot for one of you",
    "no_public_addr": "one side did not know how it looks from outside",
    "no_common_transport": "no transport in common",
    "no_stream": "the other side did not take part, or the stream broke",
    "protocol": "the other side broke the protocol",
    "sync_timeout": "the other side's word did not come in time over the relay",
    "dial_timeout": "no packet came through",
    "refused": "refused, by the other side or by a machine on the way",
    "relay_limit": "the circuit ended in between",
    "backoff": "put off after earlier failures",
    "not_ours_to_start": "only the other side may start one",
}
"""What a punch's failure means."""


def punch_words(outcome: str, reason: str | None) -> str:
    """Return how a punch ended, in words."""
    match outcome:
        case "success":
            return "a direct connection stands"
        case "direct":
            return "a plain dial came through, no punch was needed"
        case "cancelled":
            return "ended before its end: a direct connection came another way, or the peer left"
    return PUNCH_WORDS.get(reason or "", "no reason is known")


def _wrong_first(found: Iterable[Advice]) -> tuple[Advice, ...]:
    return tuple(sorted(found, key=lambda one: not one.wrong))
