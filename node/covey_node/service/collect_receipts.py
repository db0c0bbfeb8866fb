"""Receipts for what came by mailboxes: gathered a device, sent when they are due.

Owns: the moment. What is owed is written down by incoming.py, in the transaction that took it. Spec:
docs/spec/delivery.md, "Mailboxes". Never touches: relays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

import trio

from covey_core.errors import FileDamaged
from covey_core.logs import get_logger
from covey_core.peers import PeerId, peer_id_of
from covey_node import limits
from covey_node.protocol.contents import Content, Receipt, ReceiptKind
from covey_node.service.applying import TALKING
from covey_node.service.effects import Effects
from covey_node.service.ledger import Ledger
from covey_node.service.own import Own
from covey_node.service.sealing import queue_content
from covey_node.store import contacts, receipts
from covey_node.store.deliveries import OutboxFull
from covey_node.store.errors import StoreError
from covey_node.store.receipts import Owed
from covey_node.store.tx import Tx

log = get_logger("node.collecting")


class Receipting:
    """Answers what mailboxes brought. `path_stands`: whether a device is connected: to it an answer goes at once."""

    def __init__(self, ledger: Ledger, own: Own, path_stands: Callable[[PeerId], bool]) -> None:
        self._ledger = ledger
        self._own = own
        self._path_stands = path_stands
        self._more = trio.Event()

    def wake(self) -> None:
        """Something more may be owed."""
        self._more.set()

    async def run(self) -> None:
        """Answer until cancelled."""
        while True:
            self._more = trio.Event()
            try:
                owed = await self._ledger.read(lambda tx: receipts.owed(tx, limit=limits.RECEIPT_DEVICES))
                now = self._own.now()
                due = tuple(one for one in owed if one.due_at <= now or self._path_stands(peer_id_of(one.device_key)))
                if due:
                    await self._ledger.change(partial(self._send, due))
                    continue
            except (StoreError, FileDamaged) as exc:
                log.warning("node.receipts.left_out", problem=type(exc).__name__)
                await trio.sleep(limits.STORE_RETRY_SECONDS)
                continue
            wait = min((one.due_at - now for one in owed), default=limits.SWEEP_SECONDS)
            with trio.move_on_after(min(max(wait, 0.0), limits.RECEIPT_SECONDS_MAX if owed else wait)):
                await self._more.wait()

    def _send(self, due: Sequence[Owed], tx: Tx, effects: Effects) -> None:
        for one in due:
            ids = receipts.take(tx, one.contact_id, one.device_key, limit=limits.RECEIPT_IDS_MAX)
            contact = contacts.get(tx, one.contact_id)
            if contact is None or contact.state not in TALKING or not ids:
                continue
            body = Receipt(ReceiptKind.DELIVERED, ids)
            content = Content(self._own.rng(limits.MESSAGE_ID_BYTES), self._own.now(), body)
            with suppress(OutboxFull):  # what is laid down again is answered again
                queue_content(tx, effects, self._own, contact, content, only=(one.device_key,))
