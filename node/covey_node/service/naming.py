"""Which contact or message a user means, and what a relay is called.

Owns: the look-up by alias, account key or an unambiguous beginning of it. Functions take a `Tx`.
"""

from __future__ import annotations

from covey_core.network import Network
from covey_core.peers import PeerId
from covey_node.service.port import NotFound, Refused
from covey_node.store import contacts, lanes
from covey_node.store.contacts import ContactRow
from covey_node.store.messages import MessageRow
from covey_node.store.tx import Tx

_PREFIX_DIGITS = 8
_ACCOUNT_DIGITS = 64


def find_contact(tx: Tx, name: str) -> ContactRow:
    """Return the contact of that alias or account key; NotFound lists what could have been meant.

    People choose the name that they come with: one who calls himself like the beginning of somebody else's key must not
    get what was meant for that one.
    """
    keyed = contacts.by_account_prefix(tx, name) if len(name) >= _PREFIX_DIGITS else ()
    if len(name) == _ACCOUNT_DIGITS and keyed:
        return keyed[0]
    called = contacts.by_alias(tx, name)
    found = {row.id: row for row in (*keyed, *([] if called is None else [called]))}
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        raise NotFound(f"{name} fits several contacts: give more digits of the account key")
    known = ", ".join(row.alias for row in contacts.all_in(tx)[:10])
    raise NotFound(f"no contact is called {name!r}" + (f"; there are: {known}" if known else "; you have none yet"))


def relay_name(network: Network, relay: PeerId) -> str:
    """Return the name of a relay's operator in the network's file, else the end of its PeerId."""
    named = (entry.operator for entry in network.relays if entry.peer == relay and entry.operator)
    return next(named, f"…{relay[-6:]}")


def find_message(tx: Tx, name: str) -> MessageRow:
    """Return the message of that id, or of an unambiguous beginning of it (8 or more hexadecimal characters)."""
    digits = name.lower()
    if len(digits) < _PREFIX_DIGITS or any(digit not in "0123456789abcdef" for digit in digits):
        raise NotFound(f"{name!r} is no message id: give 8 or more of its hexadecimal characters (see `covey history`)")
    rows = lanes.messages_named(tx, digits)
    if not rows:
        raise NotFound(f"there is no message {name}")
    if len(rows) > 1:
        raise Refused(f"{name} fits several messages: give more characters of the id")
    return rows[0]


def account_key_in(text: str) -> bytes | None:
    """Return the account key (32 bytes) that a text of 64 hexadecimal digits is; None for anything else."""
    digits = text.strip()
    if len(digits) != _ACCOUNT_DIGITS or any(digit not in "0123456789abcdefABCDEF" for digit in digits):
        return None
    return bytes.fromhex(digits)
