"""Changes to the database and what follows from them: first durable, then told.

Owns: the order commit, then events and wakes. Every change of the node's state goes through `change`.
Never touches: sockets, what a change means.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, fields
from typing import TypeVar

import trio

from covey_core.errors import FileDamaged
from covey_core.logs import get_logger
from covey_node.service import views
from covey_node.service.effects import Effects
from covey_node.service.events import Events
from covey_node.service.port import ContactView, MessageView
from covey_node.store import contacts, messages
from covey_node.store.database import Database
from covey_node.store.errors import StoreError
from covey_node.store.tx import Tx

T = TypeVar("T")

log = get_logger("node.ledger")

Follow = Callable[[Effects], None]
"""Told of the effects of every change, after its commit: wakes lanes, publishes the record."""


class Ledger:
    """The database with its consequences."""

    def __init__(self, database: Database, events: Events) -> None:
        self.database = database
        self.events = events
        self._followers: list[Follow] = []

    def follow(self, follower: Follow) -> None:
        """Tell `follower` of the effects of every change from now on."""
        self._followers.append(follower)

    async def change(self, function: Callable[[Tx, Effects], T]) -> T:
        """Run `function` in a transaction; when it is durable, tell events and lanes; return its result."""
        result, _ = await self._change(function)
        return result

    async def note(self, function: Callable[[Tx, Effects], T]) -> T | None:
        """Do the same for what may be left out: when the disk is full or fails, that is logged, and None returned."""
        try:
            return await self.change(function)
        except (StoreError, FileDamaged) as exc:
            log.warning("node.change.left_out", problem=type(exc).__name__)
            return None

    async def change_message(self, function: Callable[[Tx, Effects], int]) -> MessageView:
        """Do the same for a function that adds or changes a message and returns its row id; return the message."""
        row_id, changed = await self._change(function)
        return changed[row_id]

    async def _change(self, function: Callable[[Tx, Effects], T]) -> tuple[T, dict[int, MessageView]]:
        effects = Effects()

        def work(tx: Tx) -> tuple[T, dict[int, MessageView], list[ContactView]]:
            result = function(tx, effects)
            found = (row or messages.get(tx, row_id) for row_id, row in effects.messages.items())
            rows = [row for row in found if row is not None]
            effects.expiring = any(row.expires_at is not None for row in rows)
            told = {row.id: view for row, view in zip(rows, views.message_views(tx, rows), strict=True)}
            people = [row for row in (contacts.get(tx, row_id) for row_id in effects.contacts) if row is not None]
            return result, told, [views.contact_view(tx, row) for row in people]

        with trio.CancelScope(shield=True):  # what is durable is told, whoever gave up waiting for it
            result, changed_messages, changed_contacts = await self.database.run(work)
        for contact in changed_contacts:
            self.events.publish("contact", _shallow(contact))
        for message in changed_messages.values():
            data = _shallow(message)
            data["reactions"] = tuple(asdict(item) for item in message.reactions)
            data["copies"] = None if message.copies is None else asdict(message.copies)
            self.events.publish("message", data)
        for follower in self._followers:
            follower(effects)
        return result, changed_messages

    async def read(self, function: Callable[[Tx], T]) -> T:
        """Run a function that only reads."""
        return await self.database.read(function)


def _shallow(view: ContactView | MessageView) -> dict[str, object]:
    """Return a view's values by name; `asdict` copies each of them, at ten times the cost of the rest of an event."""
    return {item.name: getattr(view, item.name) for item in fields(view)}
