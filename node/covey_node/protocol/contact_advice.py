"""What could be changed about the way to a contact: a table of conditions and words.

Owns: the rules. Never touches: how the facts are found. What does not follow from the facts is not said.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from covey_node.protocol.advice_facts import ContactFacts, MachineFacts, Rule, better, wrong
from covey_node.protocol.paths import PathKind
from covey_node.protocol.status import ContactState

_Pair = tuple[MachineFacts, ContactFacts]


def _relayed(pair: _Pair) -> bool:
    return pair[1].path is PathKind.RELAYED


def _unreached(pair: _Pair) -> bool:
    contact = pair[1]
    return contact.state is ContactState.ACCEPTED and contact.path is PathKind.NONE


def _failed(*reasons: str) -> Callable[[_Pair], bool]:
    return lambda pair: pair[1].failed in reasons


CONTACT: Final[tuple[Rule[_Pair], ...]] = (
    better(
        "waits_for_you",
        lambda p: p[1].state is ContactState.INCOMING,
        lambda p: f"{p[1].alias} waits for your answer: covey requests accept {p[1].alias}.",
    ),
    better(
        "not_accepted",
        lambda p: p[1].state in {ContactState.REQUESTED, ContactState.REQUESTING},
        lambda p: f"{p[1].alias} has not accepted your request; messages wait here until then.",
    ),
    wrong(
        "no_device",
        lambda p: p[1].state is ContactState.ACCEPTED and p[1].devices == 0,
        lambda p: f"No device of {p[1].alias} is known. Ask for a new invite, and add it with: covey add LINK.",
    ),
    wrong(
        "unreached",
        lambda p: _unreached(p) and p[1].devices > 0 and p[0].outside,
        lambda p: (
            f"{p[1].alias} is not reached now; your side is in order. Messages wait in its mailboxes or here, until "
            f"{p[1].alias} comes. If it should be online, let {p[1].alias} run: covey doctor."
        ),
    ),
    wrong(
        "unreached_from_here",
        lambda p: _unreached(p) and p[1].devices > 0 and not p[0].outside,
        lambda p: f"Mend this machine's way out first (see above): without it {p[1].alias} is not reached.",
    ),
    better(
        "our_hard_nat",
        lambda p: _relayed(p) and p[0].nat == "hard" and not p[0].proven_addrs,
        "Packets go through a relay since your NAT takes another port for every destination. A mapped or forwarded "
        "port on your side gives a direct connection.",
    ),
    better(
        "their_hard_nat",
        lambda p: _relayed(p) and p[0].nat in {"easy", "none"} and p[1].their_nat == "hard" and not p[0].proven_addrs,
        lambda p: (
            f"Packets go through a relay since {p[1].alias}'s NAT takes another port for every destination. A mapped "
            "or forwarded port on either side gives a direct connection."
        ),
    ),
    better(
        "no_public_addr",
        _failed("no_public_addr"),
        lambda p: (
            f"The last hole punch had no address to aim at: you or {p[1].alias} did not know how the own router looks "
            "from outside. Relays tell it: both of you need a connection to one."
        ),
    ),
    better(
        "no_common_transport",
        _failed("no_common_transport"),
        lambda p: (
            f"None of the addresses of {p[1].alias} can be dialled from here: one side may be without UDP, the other "
            "without TCP. Let UDP out of the firewall where it is blocked, and listen on both."
        ),
    ),
    better(
        "dial_timeout",
        lambda p: _failed("dial_timeout")(p) and "hard" not in {p[0].nat, p[1].their_nat},
        lambda p: (
            "The last hole punch got no packet through: a firewall or a NAT on one side drops what it did not ask for. "
            f"A port mapped or forwarded on your side or on {p[1].alias}'s gives a direct connection."
        ),
    ),
    better(
        "dials_refused",
        lambda p: _failed("refused")(p) and p[1].punch_attempts > 0,
        lambda p: (
            f"A machine at {p[1].alias}'s addresses refused the packets of the last hole punch: a firewall that "
            "answers for it, or a router that sends them elsewhere. A port forwarded on either side would help."
        ),
    ),
    better(
        "peer_refused",
        lambda p: _failed("refused")(p) and p[1].punch_attempts == 0,
        lambda p: (
            f"{p[1].alias}'s node refused the last hole punch before it began: it may be busy, or of another version. "
            "It is tried again later."
        ),
    ),
    better(
        "circuit_ended",
        _failed("relay_limit"),
        "The circuit ended before a hole was punched: the relay cut it, or its connection broke. If that happens "
        "often, another relay would help.",
    ),
    better(
        "old_peer",
        _failed("no_stream", "protocol"),
        lambda p: (
            f"{p[1].alias}'s node did not take part in the hole punch as it should. It may be of another version: both "
            "of you should run the newest one."
        ),
    ),
    better(
        "slow_relay",
        _failed("sync_timeout"),
        lambda p: (
            f"The word of {p[1].alias}'s node did not come in time over the relay, and both sides have to begin a hole "
            "punch at one moment. It is tried again later; a relay nearer to you makes it likelier."
        ),
    ),
)
