"""What a transaction changed that others must hear of, collected while it runs and told once it is durable.

Owns: the collection. Never touches: the database, sockets, watchers (the ledger tells them).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Flag, auto

from covey_node.store.messages import MessageRow


class Wake(Flag):
    """Why a device's lane is woken; both may hold."""

    NEW = auto()  # something was queued
    SEEN = auto()  # the device showed itself: a pause is over
    MAILBOXES = auto()  # the device told us where else to leave its mail


@dataclass(slots=True)
class Effects:
    """Row ids of changed messages and contacts, lanes to wake, connections to drop, in the order they came up."""

    messages: dict[int, MessageRow | None] = field(default_factory=dict)  # None: to be read at the end
    contacts: dict[int, None] = field(default_factory=dict)
    wake: dict[tuple[int, bytes], Wake] = field(default_factory=dict)
    requests: dict[int, None] = field(default_factory=dict)  # contacts for whom a request is to be laid down
    invites: bool = False  # whom our contact queues let in has changed, or what lies in stock there
    dropped: dict[int, None] = field(default_factory=dict)  # contacts whose lanes must forget what they hold
    publish_record: bool = False
    queues: bool = False  # sets of our own queues at relays were opened or closed, or a relay was left
    expiring: bool = False  # a changed message disappears some day

    def message(self, row_id: int) -> None:
        """A message was added or changed."""
        self.messages[row_id] = None

    def message_now(self, row: MessageRow) -> None:
        """A message was added or changed and now reads so: it is not read again for those who watch."""
        self.messages[row.id] = row

    def contact(self, contact_id: int) -> None:
        """A contact was added or changed."""
        self.contacts[contact_id] = None

    def lane(self, contact_id: int, device_key: bytes, why: Wake = Wake.NEW) -> None:
        """A device's lane has something to do."""
        key = contact_id, device_key
        self.wake[key] = self.wake.get(key, why) | why

    def drop(self, contact_id: int) -> None:
        """Nothing more goes to a contact."""
        self.dropped[contact_id] = None
