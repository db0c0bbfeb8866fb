"""What a user asks of our mailboxes: to see them, to leave a relay, to come back to one.

Owns: which relay a user means, what is refused. Spec: docs/users.md, "Mailboxes". Never touches: how queues move
(collecting.py does that bit by bit, when relays and contacts answer).
"""

from __future__ import annotations

from covey_core.peers import PeerId
from covey_node.protocol.queue_choice import Behaviour
from covey_node.service.collecting import Collecting
from covey_node.service.ledger import Ledger
from covey_node.service.mailbox_views import MailboxesView, Seen, mailboxes_view
from covey_node.service.port import NotFound, Refused

_LEAST_CHARS = 6
"""Of a PeerId's end: as many as are shown."""


class MailboxDesk:
    """The user's side of collecting; without it mailboxes are switched off."""

    def __init__(self, ledger: Ledger, collecting: Collecting | None) -> None:
        self._ledger = ledger
        self._collecting = collecting

    async def view(self) -> MailboxesView:
        """Return all mailboxes."""
        if self._collecting is None:
            return MailboxesView(on=False)
        await self._collecting.load()
        seen = self._collecting.seen()
        return await self._ledger.read(lambda tx: mailboxes_view(tx, seen))

    async def move(self, relay: str, *, back: bool) -> MailboxesView:
        """Have all queues leave a relay, named by its operator or PeerId, or its end; or `back`: use it again.

        Returns at once. A queue is read until its successor is known to the contact and nothing lies in it any more.
        """
        if self._collecting is None:
            raise Refused("mailboxes are switched off (COVEY_NODE_MAILBOXES)")
        await self._collecting.load()
        seen = self._collecting.seen()
        chosen = _find(relay, seen)
        if not back:
            others = [one for one in seen.operators if one != chosen and _usable(one, seen)]
            if not others:
                raise Refused(f"no other relay is known to move to: {relay} is the only one")
        await self._collecting.leave(chosen, back=back)
        return await self.view()


def _find(text: str, seen: Seen) -> PeerId:
    known = {**seen.operators, **{relay: seen.operators.get(relay, "") for relay in seen.behaviour}}
    exact = [relay for relay in known if relay == text]
    named = [relay for relay, operator in known.items() if operator and operator.casefold() == text.casefold()]
    ending = [relay for relay in known if len(text) >= _LEAST_CHARS and relay.endswith(text)]
    found = exact or named or ending
    if len(found) == 1:
        return found[0]
    if found:
        raise Refused(f"{len(found)} relays are of {text}: name one by its PeerId, such as {found[0]}")
    names = ", ".join(sorted(f"{operator or relay} ({relay[-_LEAST_CHARS:]})" for relay, operator in known.items()))
    raise NotFound(f"no relay {text!r} is known; there are: {names or 'none'}")


def _usable(relay: PeerId, seen: Seen) -> bool:
    behaviour = seen.behaviour.get(relay, Behaviour())
    return behaviour.left_at is None and not behaviour.gone
