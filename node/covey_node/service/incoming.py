"""Packets that came, handed to what opens them, a batch in one transaction; then they may be acknowledged.

Owns: the three ways in (a device's stream, a contact's mailbox, a contact queue) and how much strangers may ask.
Spec: docs/spec/chat.md, docs/spec/first-contact.md. Never touches: sockets, sessions (opening.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from covey_core.peers import PeerId, public_key_of
from covey_node import limits
from covey_node.metrics import RatchetReject
from covey_node.protocol.allowance import Allowance
from covey_node.protocol.frames import Outcome
from covey_node.protocol.paths import PathKind
from covey_node.service.effects import Effects
from covey_node.service.ledger import Ledger
from covey_node.service.opening import Opener
from covey_node.service.own import Own
from covey_node.store.errors import StoreFull
from covey_node.store.tx import Tx


class Incoming:
    """Takes the packets of other devices; `path_of` says over which path a device is connected.

    `rejected` is told why a packet was not opened.
    """

    def __init__(
        self,
        ledger: Ledger,
        own: Own,
        path_of: Callable[[PeerId], str],
        *,
        rejected: Callable[[RatchetReject], None] = lambda _reason: None,
    ) -> None:
        self._ledger = ledger
        self._own = own
        self._path_of = path_of
        self._rejected = rejected
        self._strangers = Allowance(
            per_key=limits.FIRST_CONTACTS_PER_PEER_PER_MINUTE,
            in_all=limits.FIRST_CONTACTS_PER_MINUTE,
            window_seconds=60,
            keys_max=limits.STRANGERS_KEPT,
        )
        self._unnamed = Allowance(
            per_key=limits.FIRST_CONTACTS_PER_MINUTE,
            in_all=limits.FIRST_CONTACTS_PER_MINUTE,
            window_seconds=60,
            keys_max=1,
        )

    async def receive(self, peer: PeerId, blobs: Sequence[bytes]) -> list[Outcome]:
        """Open packets of one device in order; return what became of each once all of it is durable."""
        device_key, path = public_key_of(peer), self._path_of(peer)
        return await self._receive(path, blobs, lambda opener: [opener.take(device_key, blob) for blob in blobs])

    async def receive_from(self, contact_id: int, blobs: Sequence[bytes]) -> list[Outcome]:
        """Open packets that lay in the mailbox of a contact, whichever of its devices they are by; return as `receive`.

        What was delivered by them is owed a receipt from then on (store/receipts.py).
        """
        path = PathKind.MAILBOX.value
        return await self._receive(path, blobs, lambda opener: opener.take_mail(contact_id, blobs))

    async def receive_unnamed(self, blobs: Sequence[bytes]) -> list[Outcome]:
        """Open envelopes that lay in a contact queue, by whomever they are; return as `receive`.

        TOO_MANY_REQUESTS: over the bound of a minute, or of undecided requests; it may be handed in again later. Nobody
        is owed a receipt before the user has agreed to talk.
        """

        def take(opener: Opener, blob: bytes) -> Outcome:
            if not self._unnamed.take(None, now=self._own.now()):
                return Outcome.TOO_MANY_REQUESTS
            return opener.take_unnamed(blob)

        path = PathKind.MAILBOX.value
        return await self._receive(path, blobs, lambda opener: [take(opener, blob) for blob in blobs])

    async def _receive(
        self, path: str, blobs: Sequence[bytes], take: Callable[[Opener], list[Outcome]]
    ) -> list[Outcome]:
        rejects: list[RatchetReject] = []

        def take_all(tx: Tx, effects: Effects) -> list[Outcome]:
            rejects.clear()
            opener = Opener(tx, effects, self._own, self._strangers, path, rejects)
            return take(opener)

        try:
            outcomes = await self._ledger.change(take_all)
        except StoreFull:
            return [Outcome.RETRY_LATER] * len(blobs)
        for reason in rejects:
            self._rejected(reason)
        return outcomes
