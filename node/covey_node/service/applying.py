"""What a content of a contact does here.

Owns: the effect of every kind of content, and who may become a contact.
Spec: docs/spec/contents.md, docs/spec/invite.md.
Never touches: sessions, sockets. Functions take a `Tx`; the sender is authenticated already.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from covey_node import limits
from covey_node.protocol.contents import (
    ContactAccept,
    ContactRefuse,
    ContactRequest,
    Content,
    Delete,
    Edit,
    Mailboxes,
    Reachability,
    Reaction,
    Receipt,
    ReceiptKind,
    Text,
    decode_content,
    encode_content,
)
from covey_node.protocol.frames import Outcome
from covey_node.protocol.invite import token_hash
from covey_node.protocol.paths import PathKind
from covey_node.protocol.status import ContactState, Status
from covey_node.service.composing import own_name, own_reachability, send_held_back, send_where_room
from covey_node.service.effects import Effects, Wake
from covey_node.service.own import Own
from covey_node.service.people import notice
from covey_node.store import contact_places, contacts, deliveries, invites, lanes, messages, peer_mailboxes, reactions
from covey_node.store.contacts import ContactRow, is_alias
from covey_node.store.messages import MessageRow
from covey_node.store.reactions import ReactionRow
from covey_node.store.tx import Tx

TALKING = {ContactState.ACCEPTED, ContactState.REQUESTED, ContactState.REQUESTING}
"""Whom we agreed to talk with: everybody else is a stranger."""
_OURS = {"me", "*", ".", ".."}
"""What histories call ourselves and our notices, and what paths take for folders: nobody else may be called that."""


def admit(tx: Tx, own: Own, account_key: bytes, contact: ContactRow | None, content: Content) -> ContactRow | Outcome:
    """Decide about a new session of an account: return its contact (made now where it may be), or the refusal.

    Refusals change nothing. A request with a good token makes an accepted contact and spends the token in this
    transaction; one without waits for the user.
    """
    body = content.body
    if contact is not None and contact.state in TALKING:
        return contact
    if not isinstance(body, ContactRequest):
        return contact if contact is not None and contact.state is ContactState.INCOMING else Outcome.NOT_A_CONTACT
    if body.token:
        refusal = _invite_refusal(tx, body.token, contact, now=own.now())
        if refusal is not None:
            return refusal
    elif contact is None and _incoming_count(tx) >= limits.INCOMING_REQUESTS_MAX:
        return Outcome.TOO_MANY_REQUESTS
    if contact is not None:
        return contact
    return contacts.add(
        tx,
        ContactRow(
            account_key=account_key,
            alias=contacts.free_alias(tx, _alias_for(tx, body) or account_key.hex()[:8]),
            state=ContactState.INCOMING,
            created_at=own.now(),
            profile_name=body.name,
        ),
    )


def _alias_for(tx: Tx, body: ContactRequest) -> str:
    """Return what a newcomer is to be called: as the user labelled the invite, else as it calls itself."""
    invite = invites.get(tx, token_hash(body.token)) if body.token else None
    label = "" if invite is None or not invite.one_use else safe_alias(invite.label)
    return label if is_alias(label) and contacts.by_alias(tx, label) is None else safe_alias(body.name)


def safe_alias(name: str) -> str:
    """Return a name that somebody gave himself as it may stand in commands and paths here; empty when it may not."""
    alias = "".join(char for char in name if char.isprintable() and char != "/").strip()
    return "" if contacts.fold(alias) in _OURS else alias


def apply(
    tx: Tx, effects: Effects, own: Own, contact: ContactRow, content: Content, *, path: str, device_key: bytes
) -> Outcome:
    """Do what a content of a contact's device (its key, 32 bytes) says; return what the sender is told."""
    body = content.body
    match body:
        case ContactRequest():
            _mail_to(tx, effects, contact, device_key, body.mailboxes)
            return _request(tx, effects, own, contact, device_key, body)
        case ContactAccept():
            return _accepted(tx, effects, own, contact, device_key, body)
        case Mailboxes():
            return _mail_to(tx, effects, contact, device_key, body)
        case ContactRefuse():
            return _refused(tx, effects, own, contact)
        case _ if contact.state not in TALKING:
            return Outcome.NOT_A_CONTACT
        case Text():
            return _text(tx, effects, own, contact, content, body, path=path)
        case Reaction():
            _reaction(tx, effects, own, contact, body)
        case Edit():
            _edit(tx, effects, contact, content, body)
        case Delete():
            _delete(tx, effects, own, contact, body)
        case Receipt():
            _receipt(tx, effects, own, contact, device_key, body)
        case Reachability():
            _reachable_at(tx, contact, body)
        case _:
            assert_never(body)
    return Outcome.ACCEPTED


def _text(
    tx: Tx, effects: Effects, own: Own, contact: ContactRow, content: Content, body: Text, *, path: str
) -> Outcome:
    now = own.now()
    row = messages.add(
        tx,
        MessageRow(
            contact_id=contact.id,
            outgoing=False,
            message_id=content.message_id,
            kind="text",
            body=encode_content(content),
            text=body.text,
            sent_at=content.sent_at,
            received_at=now,
            status=Status.RECEIVED,
            status_at=now,
            reply_to=body.reply_to,
            path=path,
            disappear_seconds=content.disappear_seconds or None,
        ),
    )
    if row is None:
        return Outcome.DUPLICATE
    effects.message_now(row)
    effects.contact(contact.id)
    return Outcome.ACCEPTED


def _edit(tx: Tx, effects: Effects, contact: ContactRow, content: Content, body: Edit) -> None:
    row = messages.find(tx, contact.id, body.target, outgoing=False)
    if row is not None and messages.edit(tx, row.id, text=body.text, body=encode_content(content), now=content.sent_at):
        effects.message(row.id)


def _delete(tx: Tx, effects: Effects, own: Own, contact: ContactRow, body: Delete) -> None:
    row = messages.find(tx, contact.id, body.target, outgoing=False)
    if row is not None and messages.delete(tx, row.id, now=own.now()):
        effects.message(row.id)


def _reaction(tx: Tx, effects: Effects, own: Own, contact: ContactRow, body: Reaction) -> None:
    for outgoing in (True, False):
        row = messages.find(tx, contact.id, body.target, outgoing=outgoing)
        if row is not None and row.deleted_at is None:
            reaction = ReactionRow(message_row=row.id, mine=False, emoji=body.emoji, reacted_at=own.now())
            if reactions.put(tx, reaction):
                effects.message(row.id)
            return


def _receipt(tx: Tx, effects: Effects, own: Own, contact: ContactRow, device_key: bytes, body: Receipt) -> None:
    """One device has contents: what was on its way to it is done, and messages have been delivered, or read.

    A device says so of what came by its mailboxes; what it took from a stream it has acknowledged there.
    """
    now, read = own.now(), body.kind is ReceiptKind.READ
    path = None if read else PathKind.MAILBOX.value
    for message_id in body.message_ids:
        done = deliveries.with_content(tx, contact.id, device_key, message_id)
        for row_id in done:
            moved = deliveries.finish(tx, row_id, Status.DELIVERED, now=now, path=path)
            if moved is not None:
                effects.message_now(moved)
        if done and not read:
            request_arrived(tx, effects, contact.id)
        row = messages.find(tx, contact.id, message_id, outgoing=True)
        if row is not None and messages.move(tx, row.id, Status.READ if read else Status.DELIVERED, now=now, path=path):
            effects.message(row.id)


def request_arrived(tx: Tx, effects: Effects, contact_id: int) -> None:
    """Note that the other side has our request, if one waits."""
    contact = contacts.get(tx, contact_id)
    if contact is not None and contact.state is ContactState.REQUESTING:
        reason = "they have your request and have not answered yet"
        contacts.save(tx, replace(contact, state=ContactState.REQUESTED, reason=reason))
        effects.contact(contact_id)


def _request(
    tx: Tx, effects: Effects, own: Own, contact: ContactRow, device_key: bytes, body: ContactRequest
) -> Outcome:
    now = own.now()
    contact = replace(contact, profile_name=body.name or contact.profile_name, addrs=body.addrs or contact.addrs)
    if body.token and invites.use(tx, token_hash(body.token), contact_id=contact.id, now=now) is None:
        effects.invites = True
        _become_contacts(tx, effects, own, contact)
        return Outcome.ACCEPTED
    if contact.state in {ContactState.REQUESTING, ContactState.REQUESTED}:
        _become_contacts(tx, effects, own, contact)  # both asked: both want it
        return Outcome.ACCEPTED
    if contact.state is ContactState.ACCEPTED:  # its acceptance was lost, or it began anew
        contacts.save(tx, contact)
        _accept_again(tx, effects, own, contact, device_key)
        return Outcome.ACCEPTED
    contacts.save(tx, replace(contact, state=ContactState.INCOMING, intro=body.intro, reason=None))
    effects.contact(contact.id)
    return Outcome.ACCEPTED


def _accept_again(tx: Tx, effects: Effects, own: Own, contact: ContactRow, device_key: bytes) -> None:
    """Answer a device that asks although we are contacts; an answer that waits for it is replaced, not added to.

    The one that waits may be on a session that the device has lost; and whoever only asks must not fill our outbox.
    """
    for row_id, content in lanes.newest_contents(tx, contact.id, device_key, limit=limits.ACCEPTANCE_LOOK_BACK):
        if isinstance(decode_content(content).body, ContactAccept):
            deliveries.finish(tx, row_id, Status.FAILED, now=own.now())
    acceptance = ContactAccept(own_name(tx), own_reachability(tx))
    send_where_room(tx, effects, own, contact, acceptance, only=(device_key,))


def _become_contacts(tx: Tx, effects: Effects, own: Own, contact: ContactRow) -> None:
    now = own.now()
    contact_places.forget(tx, contact.id)
    contacts.save(tx, replace(contact, state=ContactState.ACCEPTED, accepted_at=now, reason=None, invite_token=None))
    effects.contact(contact.id)
    current = contacts.get(tx, contact.id) or contact
    send_where_room(tx, effects, own, current, ContactAccept(own_name(tx), own_reachability(tx)))
    send_held_back(tx, effects, own, current)


def _mail_to(tx: Tx, effects: Effects, contact: ContactRow, device_key: bytes, body: Mailboxes | None) -> Outcome:
    """Remember where a device's mail can be left, also that of one whom we have not answered yet."""
    if contact.state is ContactState.BLOCKED:
        return Outcome.NOT_A_CONTACT
    if body is not None and peer_mailboxes.save(tx, contact.id, device_key, body):
        effects.lane(contact.id, device_key, Wake.MAILBOXES)
    return Outcome.ACCEPTED


def _accepted(
    tx: Tx, effects: Effects, own: Own, contact: ContactRow, device_key: bytes, body: ContactAccept
) -> Outcome:
    if contact.state not in TALKING:
        return Outcome.NOT_A_CONTACT
    _mail_to(tx, effects, contact, device_key, body.mailboxes)
    first = contact.state is not ContactState.ACCEPTED
    contact = replace(contact, profile_name=body.name or contact.profile_name)
    if body.reachability is not None:
        contact = _with_reachability(contact, body.reachability)
    if first:
        contact = replace(contact, state=ContactState.ACCEPTED, accepted_at=own.now(), reason=None, invite_token=None)
        contact_places.forget(tx, contact.id)
    contacts.save(tx, contact)
    effects.contact(contact.id)
    if first:
        send_where_room(tx, effects, own, contact, own_reachability(tx))
        send_held_back(tx, effects, own, contact)
    return Outcome.ACCEPTED


def _refused(tx: Tx, effects: Effects, own: Own, contact: ContactRow) -> Outcome:
    if contact.state not in {ContactState.REQUESTED, ContactState.REQUESTING}:
        return Outcome.NOT_A_CONTACT
    refuse_contact(tx, effects, own, contact, "the request was refused")
    return Outcome.ACCEPTED


def refuse_contact(tx: Tx, effects: Effects, own: Own, contact: ContactRow, reason: str) -> None:
    """Note that a request of ours came to nothing: what waited for it fails, with the reason."""
    now = own.now()
    contacts.save(tx, replace(contact, state=ContactState.REFUSED, reason=reason, invite_token=None))
    contact_places.forget(tx, contact.id)
    for row in deliveries.drop_of_contact(tx, contact.id, now=now, reason=reason):
        effects.message(row.id)
    for row in lanes.held_back(tx, contact.id):
        if messages.move(tx, row.id, Status.FAILED, now=now, reason=reason):
            effects.message(row.id)
    effects.drop(contact.id)
    effects.contact(contact.id)
    notice(tx, effects, contact.id, f"{contact.alias}: {reason}", now=now)


def _reachable_at(tx: Tx, contact: ContactRow, body: Reachability) -> None:
    contacts.save(tx, _with_reachability(contact, body))


def _with_reachability(contact: ContactRow, body: Reachability) -> ContactRow:
    changed = contact.record_key != body.record_key
    return replace(
        contact,
        record_key=body.record_key,
        record_secret=body.record_secret,
        record_sequence_seen=0 if changed else contact.record_sequence_seen,
        addrs=body.addrs or contact.addrs,
    )


def _invite_refusal(tx: Tx, token: bytes, contact: ContactRow | None, *, now: float) -> Outcome | None:
    row = invites.get(tx, token_hash(token))
    if row is None or row.revoked_at is not None:
        return Outcome.INVITE_UNKNOWN
    if row.one_use and row.used_at is not None and (contact is None or row.used_by != contact.id):
        return Outcome.INVITE_USED
    if row.expires_at <= now and (contact is None or row.used_by != contact.id):
        return Outcome.INVITE_EXPIRED
    return None


def _incoming_count(tx: Tx) -> int:
    return len(contacts.all_in(tx, {ContactState.INCOMING}))
