"""Which contact or message a user means.

Owns: the look-up by alias, account key or an unambiguous beginning of it. Functions take a `Tx`.
"""

from __future__ import annotations

from covey_node.service.port import NotFound, Refused
from covey_node.store import contacts, lanes
from covey_node.store.contacts import ContactRow
from covey_node.store.messages import MessageRow
from covey_node.store.tx import Tx

_PREFIX_DIGITS = 8


def find_contact(tx: Tx, name: str) -> ContactRow:
    """Return the contact of that alias or account key; NotFound lists what could have been meant."""
    row = contacts.by_alias(tx, name)
    if row is not None:
        return row
    if len(name) >= _PREFIX_DIGITS:
        rows = contacts.by_account_prefix(tx, name)
        if len(rows) == 1:
            return rows[0]
        if rows:
            raise NotFound(f"{name} fits several contacts: give more digits of the account key")
    known = ", ".join(row.alias for row in contacts.all_in(tx)[:10])
    raise NotFound(f"no contact is called {name!r}" + (f"; there are: {known}" if known else "; you have none yet"))


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
