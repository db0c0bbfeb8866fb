"""Changes to the database and what follows from them: first durable, then told.

Owns: the order commit, then events and wakes. Every change of the node's state goes through `change`.
Never touches: sockets, what a change means.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TypeVar

from covey_node.service import views
from covey_node.service.effects import Effects
from covey_node.service.events import Events
from covey_node.service.port import ContactView, MessageView
from covey_node.store import contacts, messages
from covey_node.store.database import Database
from covey_node.store.tx import Tx

T = TypeVar("T")

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
        effects = Effects()

        def work(tx: Tx) -> tuple[T, Sequence[MessageView], Sequence[ContactView]]:
            result = function(tx, effects)
            rows = [row for row in (messages.get(tx, row_id) for row_id in effects.messages) if row is not None]
            people = [row for row in (contacts.get(tx, row_id) for row_id in effects.contacts) if row is not None]
            return result, views.message_views(tx, rows), [views.contact_view(tx, row) for row in people]

        result, changed_messages, changed_contacts = await self.database.run(work)
        for contact in changed_contacts:
            self.events.publish("contact", asdict(contact))
        for message in changed_messages:
            self.events.publish("message", asdict(message))
        for follower in self._followers:
            follower(effects)
        return result

    async def read(self, function: Callable[[Tx], T]) -> T:
        """Run a function that only reads."""
        return await self.database.read(function)
