"""Messages as the user writes and reads them.

Owns: what the user does with messages. What comes from the other side is applying.py, what leaves is sealing.py.
Never touches: sockets.
"""

from __future__ import annotations

from covey_node import limits
from covey_node.protocol.contents import Content, Delete, Edit, Reaction, Receipt, ReceiptKind, Text, encode_content
from covey_node.protocol.status import ContactState
from covey_node.service import views
from covey_node.service.composing import new_text, send_notice_content
from covey_node.service.effects import Effects
from covey_node.service.ledger import Ledger
from covey_node.service.naming import find_contact, find_message
from covey_node.service.own import Own
from covey_node.service.port import MessageView, Refused
from covey_node.store import contacts, devices, messages, reactions
from covey_node.store.contacts import ContactRow
from covey_node.store.messages import MessageRow
from covey_node.store.reactions import ReactionRow
from covey_node.store.tx import Tx


class Conversation:
    """The user's side of talking."""

    def __init__(self, ledger: Ledger, own: Own) -> None:
        self._ledger = ledger
        self._own = own

    async def send(
        self, contact: str, text: str, *, reply_to: str | None, disappear_seconds: float | None
    ) -> MessageView:
        """Queue a text; durable when this returns."""
        _check_text(text)
        seconds = 0 if disappear_seconds is None else max(1, int(disappear_seconds))
        if seconds > limits.DISAPPEAR_SECONDS_MAX:
            raise Refused(f"a message may stay for {limits.DISAPPEAR_SECONDS_MAX // 86400} days at most")

        def send(tx: Tx, effects: Effects) -> int:
            row = find_contact(tx, contact)
            _may_write(tx, row)
            target = find_message(tx, reply_to) if reply_to else None
            if target is not None and target.contact_id != row.id:
                raise Refused("the message you reply to belongs to another conversation")
            return new_text(
                tx,
                effects,
                self._own,
                row,
                text,
                reply_to=None if target is None else target.message_id,
                disappear_seconds=seconds,
            ).id

        return await self._ledger.change_message(send)

    async def react(self, message: str, emoji: str) -> None:
        """React to a message; an empty text takes the reaction back."""
        if len(emoji.encode()) > limits.EMOJI_BYTES:
            raise Refused(f"a reaction has at most {limits.EMOJI_BYTES} bytes")

        def react(tx: Tx, effects: Effects) -> None:
            row, contact = _target(tx, message)
            if row.deleted_at is not None:
                raise Refused("the message was deleted")
            reaction = ReactionRow(message_row=row.id, mine=True, emoji=emoji, reacted_at=self._own.now())
            if reactions.put(tx, reaction):
                send_notice_content(tx, effects, self._own, contact, Reaction(row.message_id, emoji))
                effects.message(row.id)

        await self._ledger.change(react)

    async def edit(self, message: str, text: str) -> MessageView:
        """Replace the text of a message of ours on both sides."""
        _check_text(text)

        def edit(tx: Tx, effects: Effects) -> int:
            row, contact = _target(tx, message, own=True)
            body = Content(row.message_id, row.sent_at, Text(text, row.reply_to), int(row.disappear_seconds or 0))
            if not messages.edit(tx, row.id, text=text, body=encode_content(body), now=self._own.now()):
                raise Refused("the message was deleted")
            if contact.state is ContactState.ACCEPTED:  # else it is held back here, and goes out as it is now
                send_notice_content(tx, effects, self._own, contact, Edit(row.message_id, text))
            effects.message(row.id)
            return row.id

        return await self._ledger.change_message(edit)

    async def delete(self, message: str) -> None:
        """Delete a message of ours on both sides; somebody else's only here."""

        def delete(tx: Tx, effects: Effects) -> None:
            row, contact = _target(tx, message)
            if messages.delete(tx, row.id, now=self._own.now()):
                if row.outgoing and contact.state is ContactState.ACCEPTED:
                    send_notice_content(tx, effects, self._own, contact, Delete(row.message_id))
                effects.message(row.id)

        await self._ledger.change(delete)

    async def message(self, message: str) -> MessageView:
        """Return one message."""
        return await self._ledger.read(lambda tx: views.message_views(tx, [find_message(tx, message)])[0])

    async def history(self, contact: str, *, limit: int, before: str | None) -> tuple[MessageView, ...]:
        """Return up to `limit` messages before message `before`, oldest first."""

        def page(tx: Tx) -> tuple[MessageView, ...]:
            row = find_contact(tx, contact)
            at = None if before is None else find_message(tx, before).id
            return views.message_views(tx, messages.page(tx, row.id, limit=limit, before=at)[::-1])

        return await self._ledger.read(page)

    async def mark_read(self, contact: str) -> int:
        """Mark what came as read and tell the sender, in receipts of up to 128 messages."""

        def mark(tx: Tx, effects: Effects) -> int:
            row = find_contact(tx, contact)
            read = messages.mark_read(tx, row.id, now=self._own.now())
            ids = [message.message_id for message in read if message.kind == "text"]
            if row.state is ContactState.ACCEPTED:
                for at in range(0, len(ids), limits.RECEIPT_IDS_MAX):
                    receipt = Receipt(ReceiptKind.READ, tuple(ids[at : at + limits.RECEIPT_IDS_MAX]))
                    send_notice_content(tx, effects, self._own, row, receipt)
            for message in read:
                if message.expires_at is not None:
                    effects.message(message.id)  # its time has begun
            if read:
                effects.contact(row.id)
            return len(ids)

        return await self._ledger.change(mark)


def _check_text(text: str) -> None:
    size = len(text.encode())
    if not text.strip():
        raise Refused("the message is empty")
    if size > limits.TEXT_BYTES:
        raise Refused(f"the message has {size} bytes, the limit is {limits.TEXT_BYTES}: send it in parts")


def _may_write(tx: Tx, contact: ContactRow) -> None:
    if contact.state is ContactState.INCOMING:
        raise Refused(f"{contact.alias} is waiting for your answer: `covey requests accept {contact.alias}`")
    if contact.state in {ContactState.REFUSED, ContactState.BLOCKED}:
        raise Refused(f"{contact.alias}: {contact.reason or contact.state}")
    if contact.verified_at is not None and devices.changes(tx, contact.id, unaccepted=True):
        raise Refused(
            f"the devices of {contact.alias}, whom you had verified, have changed: compare the safety number again, "
            f"then `covey verify {contact.alias} --mark`"
        )


def _target(tx: Tx, message: str, *, own: bool = False) -> tuple[MessageRow, ContactRow]:
    row = find_message(tx, message)
    contact = contacts.get(tx, row.contact_id)
    if contact is None or (own and not row.outgoing):
        raise Refused("only your own messages can be changed")
    _may_write(tx, contact)
    return row, contact
