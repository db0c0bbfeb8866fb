"""The way to a contact, step by step: what is in order, what is not, what is not known.

Owns: the steps of `covey doctor CONTACT` and their words. Pure functions. Never touches: how the facts are found.
"""

from __future__ import annotations

from dataclasses import dataclass

from covey_node.protocol.advice import NAT_WORDS, punch_words
from covey_node.protocol.advice_facts import ContactFacts, MachineFacts
from covey_node.protocol.paths import PathKind
from covey_node.protocol.status import ContactState

_STATES = {
    ContactState.ACCEPTED: "is your contact",
    ContactState.INCOMING: "asks to become your contact; not answered yet",
    ContactState.REQUESTING: "was asked; the request has not arrived yet",
    ContactState.REQUESTED: "was asked and has not answered yet",
    ContactState.REFUSED: "refused, or was refused",
    ContactState.BLOCKED: "is blocked",
}


@dataclass(frozen=True, slots=True)
class Hop:
    """One step; `ok` is None where nothing is known yet."""

    code: str
    words: str
    ok: bool | None


def hops(machine: MachineFacts, contact: ContactFacts) -> tuple[Hop, ...]:
    """Return the steps from this machine to the contact, in their order."""
    return (
        _way_out(machine),
        Hop("nat", NAT_WORDS[machine.nat], ok=None if machine.nat == "unknown" else machine.nat != "udp_blocked"),
        _contact(contact),
        _addresses(contact),
        _direct(contact),
        _relayed(machine, contact),
    )


def _way_out(machine: MachineFacts) -> Hop:
    if machine.proven_addrs:
        words = f"reached from outside at {_count(machine.proven_addrs, 'address', 'addresses')}"
    elif machine.relays_reserved:
        words = f"reached through {_count(machine.relays_reserved, 'relay', 'relays')}"
    elif machine.relays == 0:
        return Hop("here", "no relay is known; reached on its own network only", ok=None)
    else:
        return Hop("here", f"no relay keeps a slot{_why(machine.relay_reason)}", ok=False)
    return Hop("here", words, ok=True)


def _contact(contact: ContactFacts) -> Hop:
    state = _STATES.get(contact.state, contact.state.value)
    if contact.state is not ContactState.ACCEPTED:
        return Hop("contact", state, ok=False)
    if contact.devices == 0:
        return Hop("contact", f"{state}; no device of theirs is known", ok=False)
    return Hop("contact", f"{state}; {_count(contact.devices, 'device', 'devices')} known", ok=True)


def _addresses(contact: ContactFacts) -> Hop:
    if not contact.direct_addrs and not contact.relays:
        return Hop("addresses", "no address of theirs is known", ok=contact.path is not PathKind.NONE)
    parts = []
    if contact.direct_addrs:
        parts.append(_count(contact.direct_addrs, "direct address", "direct addresses"))
    if contact.relays:
        parts.append(f"{_count(contact.relays, 'relay', 'relays')} of theirs")
    return Hop("addresses", f"known: {' and '.join(parts)}", ok=True)


def _direct(contact: ContactFacts) -> Hop:
    if contact.path not in {PathKind.NONE, PathKind.RELAYED}:
        return Hop("direct", f"stands ({contact.path.value})", ok=True)
    if contact.punch_outcome is not None:
        words = punch_words(contact.punch_outcome, contact.punch_reason)
        over = contact.punch_outcome in {"success", "direct"}
        return Hop("direct", f"the last one is gone ({words})" if over else f"hole punching failed: {words}", ok=False)
    if contact.path is PathKind.NONE:
        return Hop("direct", "none" + ("; what was tried stands below" if contact.tried else ""), ok=False)
    return Hop("direct", "none, and no hole punch has come to its end yet", ok=None)


def _relayed(machine: MachineFacts, contact: ContactFacts) -> Hop:
    if contact.path is PathKind.RELAYED:
        return Hop("relayed", "stands", ok=True)
    if contact.relayed and contact.path is not PathKind.NONE:
        return Hop("relayed", "stands by, for when the direct one fails", ok=True)
    if contact.path is not PathKind.NONE:
        return Hop("relayed", "not needed now", ok=None)
    if machine.relays == 0 and contact.relays == 0:
        return Hop("relayed", "no relay is known on either side", ok=False)
    return Hop("relayed", f"none{_why(contact.tried)}", ok=False)


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _why(reason: str | None) -> str:
    return f": {reason}" if reason else ""
