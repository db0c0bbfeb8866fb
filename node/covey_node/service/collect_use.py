"""What our sets of queues are for: who may write to one, where its packets go, who is told of it.

Owns: the interface between the machinery of queues (collecting.py) and what is done with them, and its use for
contacts. Spec: docs/spec/mailbox.md, "Replicas". Never touches: relays, connections.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from covey_core.wire.mailbox import Admit, AdmitKey
from covey_node import limits
from covey_node.crypto.primitives import ed25519_public
from covey_node.crypto.replica import send_seed
from covey_node.protocol.contents import Content, Mailboxes, introduces
from covey_node.protocol.frames import Outcome
from covey_node.protocol.status import Status
from covey_node.service.effects import Effects
from covey_node.service.incoming import Incoming
from covey_node.service.own import Own
from covey_node.service.sealing import open_devices, queue_content
from covey_node.store import contacts, deliveries, queue_told
from covey_node.store.deliveries import OutboxFull
from covey_node.store.queues import SetRow
from covey_node.store.tx import Tx


class Use(Protocol):
    """What the sets of one purpose are for. Methods with a `tx` run in a transaction, in the database's thread."""

    def admit(self, tx: Tx, row: SetRow, relay: bytes) -> Admit | None:
        """Return what a new queue of the set at a relay (PeerId as multihash) asks of writers; None: not made now."""

    async def take(self, row: SetRow, packets: Sequence[bytes]) -> Sequence[Outcome | None]:
        """Take packets that lay in the set's queues; return what became of each once that is durable.

        Those with `RETRY_LATER` are given again after a while, and the relay is read no further meanwhile. Those with
        None are left lying: this use fetches them when it wants them. The others are acknowledged at all relays.
        """

    def tell(self, tx: Tx, effects: Effects, row: SetRow, mailboxes: Mailboxes) -> None:
        """Tell the set to those who do not know its newest composition; called again whenever there may be such."""

    def confirmed(self, tx: Tx, row: SetRow) -> int:
        """Return the composition that everybody knows who may write; queues that left the set before it can go."""


class ContactUse:
    """The mail of one contact, told to each of its devices inside the session."""

    def __init__(self, own: Own, incoming: Incoming) -> None:
        self._own = own
        self._incoming = incoming

    def admit(self, _tx: Tx, row: SetRow, relay: bytes) -> Admit | None:
        """Admit who has the set's secret: both sides derive the key from it."""
        return None if row.secret is None else AdmitKey(ed25519_public(send_seed(row.secret, relay)))

    async def take(self, row: SetRow, packets: Sequence[bytes]) -> Sequence[Outcome | None]:
        """Open packets as the contact's."""
        if row.contact_id is None:
            return [Outcome.NOT_A_CONTACT] * len(packets)
        return await self._incoming.receive_from(row.contact_id, packets)

    def tell(self, tx: Tx, effects: Effects, row: SetRow, mailboxes: Mailboxes) -> None:
        """Queue a content for each device that was not told, in place of an older one that never left."""
        contact = None if row.contact_id is None else contacts.get(tx, row.contact_id)
        if contact is None:
            return
        untold = queue_told.untold(tx, row.id, open_devices(tx, contact), number=mailboxes.number)
        if not untold:
            return
        content = Content(self._own.rng(limits.MESSAGE_ID_BYTES), self._own.now(), mailboxes)
        for key in untold:
            with suppress(OutboxFull):  # told when there is room
                outdated = queue_told.waiting(tx, row.id, key)
                queue_content(tx, effects, self._own, contact, content, only=(key,))
                for delivery, data in outdated:
                    if not introduces(data):  # a request or an acceptance says more than where our mailboxes are
                        deliveries.finish(tx, delivery, Status.EXPIRED, now=self._own.now())
                queue_told.told(tx, row.id, key, number=mailboxes.number, content_id=content.message_id)

    def confirmed(self, tx: Tx, row: SetRow) -> int:
        """Return what all devices of the contact have confirmed."""
        contact = None if row.contact_id is None else contacts.get(tx, row.contact_id)
        return 0 if contact is None else queue_told.confirmed(tx, row.id, open_devices(tx, contact))
