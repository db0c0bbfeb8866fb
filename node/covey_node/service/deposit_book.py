"""One mailbox's side of the database: what is missing there is read in pages, what it answered is written down.

Owns: the transactions of laying packets down. Spec: docs/spec/delivery.md, "Mailboxes". What comes next is
protocol/replication.py's, what rows mean store/deposits.py's. Never touches: relays, streams.
"""

from __future__ import annotations

from collections.abc import Sequence

from covey_node import limits
from covey_node.crypto.replica import PACKET_SIZES
from covey_node.service.effects import Effects
from covey_node.service.ledger import Ledger
from covey_node.service.own import Own
from covey_node.store import deposits, peer_mailboxes
from covey_node.store.deposits import Place, Waiting
from covey_node.store.tx import Tx


class DepositBook:
    """What is known of one replica, `place`; `told` is the reason that stands in the database why it takes nothing."""

    def __init__(self, ledger: Ledger, own: Own, place: Place, *, told: str | None) -> None:
        self.place = place
        self._ledger = ledger
        self._own = own
        self._told: tuple[str | None, int] = (told, 0)

    async def missing(self, *, after: int, limit: int) -> tuple[tuple[int, float], ...]:
        """Return up to `limit` (delivery, seconds since it was queued) that do not lie there."""
        now = self._own.now()
        rows = await self._ledger.read(lambda tx: deposits.missing(tx, self.place, after=after, limit=limit))
        return tuple((row_id, now - queued_at) for row_id, queued_at in rows)

    async def packets(self, wanted: Sequence[int]) -> tuple[tuple[Waiting, int], ...]:
        """Return packets with the seconds for which the relay is to keep them.

        What has no time left is left out, and what has none of the sizes that mailboxes take.
        """
        now = self._own.now()
        rows = await self._ledger.read(lambda tx: deposits.packets(tx, wanted))
        fitting = (row for row in rows if len(row.packet) in PACKET_SIZES)
        times = ((row, int(min(row.expires_at - now, limits.DEPOSIT_TTL_SECONDS))) for row in fitting)
        return tuple((row, ttl) for row, ttl in times if ttl >= 1)

    async def lying(self, *, after: int) -> tuple[tuple[int, bytes], ...]:
        """Return a page of (delivery, packet hash) that lie there as far as we know."""
        limit = limits.DEPOSIT_PAGE
        return await self._ledger.read(lambda tx: deposits.lying(tx, self.place, after=after, limit=limit))

    async def stored(self, laid: Sequence[tuple[int, bytes]]) -> None:
        """Write down that these (delivery, packet hash) lie there now."""

        def note(tx: Tx, effects: Effects) -> None:
            for changed in deposits.stored(tx, self.place, laid, now=self._own.now()):
                if isinstance(changed, int):
                    effects.message(changed)
                else:
                    effects.message_now(changed)

        await self._ledger.change(note)

    async def lost(self, gone: Sequence[int], *, reason: str) -> None:
        """Write down that these lie there no more."""

        def note(tx: Tx, effects: Effects) -> None:
            for row_id in deposits.lost(tx, self.place, gone, now=self._own.now(), reason=reason):
                effects.message(row_id)

        await self._ledger.change(note)

    async def lost_all(self, *, reason: str) -> None:
        """Write down that nothing lies there any more."""
        while page := await self.lying(after=0):
            await self.lost([row_id for row_id, _ in page], reason=reason)

    async def checked(self) -> None:
        """Write down that it was asked now, so that a restart does not ask again at once, nor never."""
        place, now = self.place, self._own.now()

        def note(tx: Tx, _effects: Effects) -> None:
            peer_mailboxes.note_checked(tx, place.contact_id, place.device_key, [place.relay], at=now)

        await self._ledger.change(note)

    async def trouble(self, reason: str | None, *, pause: int, seconds: float | None) -> None:
        """Show why it takes nothing, and that it is tried again in `seconds`; None: it works.

        `pause` is another number for every pause: nothing is written down twice.
        """
        place = self.place
        if self._told == (reason, pause) or (reason is None and self._told[0] is None):
            return
        due = None if seconds is None else self._own.now() + seconds

        def note(tx: Tx, effects: Effects) -> None:
            if peer_mailboxes.note_trouble(
                tx, place.contact_id, place.device_key, place.relay, reason=reason, next_attempt_at=due
            ):
                for row_id in deposits.messages_at(tx, place, limit=limits.DEPOSIT_TOLD_MESSAGES):
                    effects.message(row_id)

        await self._ledger.change(note)
        self._told = (reason, pause)
