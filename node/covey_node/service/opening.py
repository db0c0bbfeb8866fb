"""Packets opened, applied and remembered inside one transaction.

Owns: which session opens a packet, duplicates, first contacts, whom a receipt is owed. Spec: docs/spec/chat.md,
docs/spec/e2ee.md, docs/spec/first-contact.md. Never touches: sockets, trio. What a content does is applying.py's
business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from covey_core.errors import ProtocolViolation
from covey_node import crypto, limits
from covey_node.metrics import RatchetReject
from covey_node.protocol.allowance import Allowance
from covey_node.protocol.contents import Content, Receipt, content_id_of, decode_content
from covey_node.protocol.frames import Outcome
from covey_node.protocol.paths import PathKind
from covey_node.protocol.status import ContactState
from covey_node.service import applying
from covey_node.service.effects import Effects, Wake
from covey_node.service.own import Own
from covey_node.service.people import note_devices
from covey_node.service.sealing import packet_hash, rank_accepted, received_on
from covey_node.store import account, contact_stock, contacts, devices, receipts, received, replay, sessions
from covey_node.store.contacts import ContactRow
from covey_node.store.sessions import SessionRow
from covey_node.store.tx import Tx


@dataclass(frozen=True, slots=True)
class _Letter:
    """What was in a packet, not done yet; `content` is None for one that is of no use here."""

    contact_id: int
    device_key: bytes
    content_id: bytes | None
    content: Content | None
    place: int = 0

    @property
    def written_at(self) -> float:
        """When, by its author's clock."""
        return 0.0 if self.content is None else self.content.sent_at


class Opener:
    """Packets that came over one path, inside one transaction; `rejects` takes why some were not opened."""

    def __init__(
        self,
        tx: Tx,
        effects: Effects,
        own: Own,
        strangers: Allowance,
        path: str,
        rejects: list[RatchetReject],
    ) -> None:
        self._tx = tx
        self._effects = effects
        self._own = own
        self._strangers = strangers
        self._path = path
        self._rejects = rejects
        self._now = own.now()
        self._device_key = self._account = b""  # whose packet is looked at
        self._content_id: bytes | None = None  # of what was in it, where a receipt may answer it
        self._postpones = False  # what is in it is done later, with what else came
        self._letter: _Letter | None = None

    def take(self, device_key: bytes, blob: bytes) -> Outcome:
        """Open a packet that a device handed in, apply, remember. Nothing is written unless it is authentic."""
        digest = packet_hash(blob)
        self._device_key = device_key
        if received.outcome(self._tx, device_key, digest) is not None:
            return Outcome.DUPLICATE
        return self._noted(digest, self._open(digest, blob, self._contacts_of_device, sender=device_key))

    def take_mail(self, contact_id: int, blobs: Sequence[bytes]) -> list[Outcome]:
        """Do the same for packets from a contact's mailbox; a device is owed a receipt for what it has delivered.

        Relays do not keep the order of what is laid down together: it is applied in the order in which it was written.
        """
        outcomes: list[Outcome] = []
        letters: dict[bytes, _Letter] = {}
        for place, blob in enumerate(blobs):
            digest = packet_hash(blob)
            self._letter = None
            outcomes.append(Outcome.DUPLICATE if digest in letters else self._open_mail(contact_id, digest, blob))
            if self._letter is not None:
                letters[digest] = replace(self._letter, place=place)
        for digest, letter in sorted(letters.items(), key=lambda item: item[1].written_at):
            self._device_key, self._content_id = letter.device_key, letter.content_id
            outcome = self._noted(digest, self._do(letter.contact_id, letter.content))
            outcomes[letter.place] = outcome
            if outcome.delivered:
                self._owe_receipt(contact_id, letter.device_key, digest)
        return outcomes

    def _open_mail(self, contact_id: int, digest: bytes, blob: bytes) -> Outcome:
        contact = contacts.get(self._tx, contact_id)
        if contact is None or contact.state is ContactState.BLOCKED:
            return Outcome.NOT_A_CONTACT
        for key in devices.keys(self._tx, contact_id):
            if received.outcome(self._tx, key, digest) is not None:
                self._owe_receipt(contact_id, key, digest)
                return Outcome.DUPLICATE
        self._postpones = True
        try:
            return self._open(digest, blob, lambda: [contact], sender=None)
        finally:
            self._postpones = False

    def take_unnamed(self, blob: bytes) -> Outcome:
        """Do the same for an envelope from a contact queue, by anybody."""
        digest = packet_hash(blob)
        outcome = self._noted(digest, self._open(digest, blob, None, sender=None))
        contact = None if not outcome.delivered else contacts.by_account(self._tx, self._account)
        if contact is not None and contact.state in applying.TALKING:
            self._owe_receipt(contact.id, self._device_key, digest)
        return outcome

    def _open(
        self, digest: bytes, blob: bytes, people: Callable[[], list[ContactRow]] | None, *, sender: bytes | None
    ) -> Outcome:
        """Open a new packet of one of these people (None: of anybody); `sender`: of this device, None for any."""
        self._content_id = None
        try:
            kind = crypto.packet_kind(blob)
            first = kind is crypto.PacketKind.FIRST_CONTACT
            if first:
                outcome = self._first_contact(blob, digest, people, sender)
            else:
                outcome = Outcome.NOT_A_CONTACT if people is None else self._established(blob, people, sender)
        except (crypto.Undecryptable, ProtocolViolation) as exc:
            return self._reject(_reason(exc))
        return outcome

    def _noted(self, digest: bytes, outcome: Outcome) -> Outcome:
        """Remember a packet that was taken; return its outcome."""
        if outcome.delivered:
            received.note(
                self._tx,
                self._device_key,
                digest,
                outcome=outcome.name,
                now=self._now,
                content_id=self._content_id,
            )
        return outcome

    def _owe_receipt(self, contact_id: int, device_key: bytes, digest: bytes) -> None:
        content_id = received.to_answer(self._tx, device_key, digest, now=self._now)
        if content_id is not None:
            spread = limits.RECEIPT_SECONDS_MAX - limits.RECEIPT_SECONDS_MIN
            jitter = int.from_bytes(self._own.rng(2), "big") / 0xFFFF * spread
            due_at = self._now + limits.RECEIPT_SECONDS_MIN + jitter
            receipts.owe(self._tx, contact_id, device_key, content_id, due_at=due_at)

    def _established(self, packet: bytes, of: Callable[[], list[ContactRow]], sender: bytes | None) -> Outcome:
        people = of()
        if people and self._asks_too_often(people):
            return Outcome.TOO_MANY_REQUESTS
        reason = RatchetReject.NO_KEY
        for contact in people:
            for row in self._sessions(contact.id, sender):
                try:
                    session, plaintext = crypto.Session.decode(row.state).decrypt(packet, now=self._now)
                except crypto.Undecryptable as exc:
                    reason = reason if reason is not RatchetReject.NO_KEY else _reason(exc)
                    continue
                self._device_key = row.device_key
                received_on(self._tx, row, session, now=self._now)
                return self._apply(contact, plaintext)
        return self._reject(reason) if people else Outcome.NOT_A_CONTACT

    def _sessions(self, contact_id: int, sender: bytes | None) -> Iterator[SessionRow]:
        for key in devices.keys(self._tx, contact_id) if sender is None else (sender,):
            yield from sessions.of_device(self._tx, contact_id, key)

    def _first_contact(
        self, envelope: bytes, digest: bytes, of: Callable[[], list[ContactRow]] | None, sender: bytes | None
    ) -> Outcome:
        if of is not None and self._asks_too_often(of()):
            return Outcome.TOO_MANY_REQUESTS
        prekeys = crypto.Prekeys.decode(account.prekeys(self._tx))
        first = crypto.unseal(self._own.local, prekeys, envelope)
        if sender is None and of is not None and not any(contact.account_key == first.account for contact in of()):
            return self._reject(RatchetReject.MALFORMED)  # a contact's mailbox with somebody else's envelope
        if sender is not None and first.device.ed25519 != sender:
            return self._reject(RatchetReject.MALFORMED)  # somebody hands in another device's envelope
        self._device_key, self._account = first.device.ed25519, first.account
        if of is None and received.outcome(self._tx, self._device_key, digest) is not None:
            return Outcome.DUPLICATE
        known = sessions.by_base_key(self._tx, first.base_key_hash)
        if known is not None:
            contact = contacts.get(self._tx, known.contact_id)
            session, plaintext = crypto.Session.decode(known.state).decrypt(first.packet, now=self._now)
            if contact is None or contact.state is ContactState.BLOCKED:
                return Outcome.NOT_A_CONTACT
            received_on(self._tx, known, session, now=self._now)
            return self._apply(contact, plaintext)
        if replay.seen(self._tx, first.base_key_hash):
            return self._reject(RatchetReject.REPLAYED)
        pair = contact_stock.pair(self._tx, first.one_time_id)
        if pair is None and contact_stock.was_used(self._tx, first.one_time_id):
            return self._reject(RatchetReject.PREKEY_USED)
        if pair is not None:
            prekeys = prekeys.holding(crypto.OneTimePair.decode(pair))
        accepted = first.accept(self._own.local, prekeys, now=self._now)
        found = self._sender(first, accepted)
        if isinstance(found, Outcome):
            return found
        note_devices(self._tx, self._effects, found, first.devices, now=self._now)
        replay.remember(self._tx, first.base_key_hash, until=accepted.remember_until)
        account.set_prekeys(self._tx, accepted.prekeys.encode())
        if pair is not None:
            contact_stock.use(self._tx, first.one_time_id, now=self._now)
            self._effects.invites = True  # the stock may be low
        row = rank_accepted(self._tx, found.id, accepted.session, now=self._now)
        sessions.add(self._tx, replace(row, last_received_at=self._now))
        return self._apply(found, accepted.plaintext)

    def _sender(self, first: crypto.FirstContact, accepted: crypto.Accepted) -> ContactRow | Outcome:
        contact = contacts.by_account(self._tx, first.account)
        if contact is not None and contact.state is ContactState.BLOCKED:
            return Outcome.NOT_A_CONTACT
        try:
            content = decode_content(accepted.plaintext)
        except ProtocolViolation:  # a contact's session goes on without it, a stranger's does not begin
            return contact if contact is not None and contact.state in applying.TALKING else Outcome.NOT_A_CONTACT
        return applying.admit(self._tx, self._own, first.account, contact, content)

    def _apply(self, contact: ContactRow, plaintext: bytes) -> Outcome:
        if self._path != PathKind.MAILBOX:  # a mailbox tells nothing of where its sender is now
            contacts.seen(self._tx, contact.id, now=self._now)
            self._effects.lane(contact.id, self._device_key, Wake.SEEN)
        content: Content | None = None
        try:
            content = decode_content(plaintext)
            self._content_id = None if isinstance(content.body, Receipt) else content.message_id
        except ProtocolViolation:
            self._content_id = content_id_of(plaintext)
        if self._postpones:
            self._letter = _Letter(contact.id, self._device_key, self._content_id, content)
            return Outcome.ACCEPTED
        return self._do(contact.id, content)

    def _do(self, contact_id: int, content: Content | None) -> Outcome:
        contact = contacts.get(self._tx, contact_id)
        if contact is None or content is None:
            return Outcome.ACCEPTED  # authentic and unusable: it must not come again
        return applying.apply(
            self._tx, self._effects, self._own, contact, content, path=self._path, device_key=self._device_key
        )

    def _reject(self, reason: RatchetReject) -> Outcome:
        self._rejects.append(reason)
        return Outcome.UNDECRYPTABLE

    def _asks_too_often(self, people: list[ContactRow]) -> bool:
        """Count what comes from a device of nobody with whom we agreed to talk; whether that is over the bound."""
        if any(contact.state in applying.TALKING for contact in people):
            return False
        return not self._strangers.take(self._device_key, now=self._now)

    def _contacts_of_device(self) -> list[ContactRow]:
        """Return the contacts whose signed list names this device; an account may name one that is not its own."""
        rows = [
            contacts.get(self._tx, device.contact_id)
            for device in devices.with_key(self._tx, self._device_key)
            if device.revoked_at is None
        ]
        return [row for row in rows if row is not None and row.state is not ContactState.BLOCKED]


def _reason(error: crypto.Undecryptable | ProtocolViolation) -> RatchetReject:
    match error:
        case crypto.MessageKeyGone():
            return RatchetReject.REPLAYED
        case crypto.SkippedTooFar():
            return RatchetReject.SKIPPED_TOO_FAR
        case crypto.Undecryptable():
            return RatchetReject.NO_KEY
    return RatchetReject.MALFORMED
