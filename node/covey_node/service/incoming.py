"""Packets become contents: opened, applied and remembered in one transaction, then acknowledged.

Owns: which session opens a packet, duplicates, first contacts. Spec: docs/spec/chat.md, docs/spec/e2ee.md.
Never touches: sockets. What a content does is applying.py's business.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from covey_core.errors import ProtocolViolation
from covey_core.peers import PeerId, public_key_of
from covey_node import crypto, limits
from covey_node.metrics import RatchetReject
from covey_node.protocol.allowance import Allowance
from covey_node.protocol.contents import decode_content
from covey_node.protocol.frames import Outcome
from covey_node.protocol.status import ContactState
from covey_node.service import applying
from covey_node.service.effects import Effects, Wake
from covey_node.service.ledger import Ledger
from covey_node.service.own import Own
from covey_node.service.people import note_devices
from covey_node.service.sealing import packet_hash, rank_accepted, received_on
from covey_node.store import account, contacts, devices, received, replay, sessions
from covey_node.store.contacts import ContactRow
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

    async def receive(self, peer: PeerId, blobs: Sequence[bytes]) -> list[Outcome]:
        """Open packets of one device in order; return what became of each once all of it is durable."""
        device_key, path = public_key_of(peer), self._path_of(peer)
        rejects: list[RatchetReject] = []

        def take_all(tx: Tx, effects: Effects) -> list[Outcome]:
            rejects.clear()
            opener = _Opener(tx, effects, self._own, self._strangers, device_key, path, rejects)
            return [opener.take(blob) for blob in blobs]

        try:
            outcomes = await self._ledger.change(take_all)
        except StoreFull:
            return [Outcome.RETRY_LATER] * len(blobs)
        for reason in rejects:
            self._rejected(reason)
        return outcomes


class _Opener:
    """One device's packets inside one transaction; `rejects` takes why some were not opened."""

    def __init__(
        self,
        tx: Tx,
        effects: Effects,
        own: Own,
        strangers: Allowance,
        device_key: bytes,
        path: str,
        rejects: list[RatchetReject],
    ) -> None:
        self._tx = tx
        self._effects = effects
        self._own = own
        self._strangers = strangers
        self._device_key = device_key
        self._path = path
        self._rejects = rejects
        self._now = own.now()

    def take(self, blob: bytes) -> Outcome:
        """Open, apply, remember. Nothing is written unless the packet is authentic."""
        digest = packet_hash(blob)
        if received.outcome(self._tx, self._device_key, digest) is not None:
            return Outcome.DUPLICATE
        try:
            kind = crypto.packet_kind(blob)
            first = kind is crypto.PacketKind.FIRST_CONTACT
            outcome = self._first_contact(blob) if first else self._established(blob)
        except (crypto.Undecryptable, ProtocolViolation) as exc:
            return self._reject(_reason(exc))
        if outcome.delivered:
            received.note(self._tx, self._device_key, digest, outcome=outcome.name, now=self._now)
        return outcome

    def _established(self, packet: bytes) -> Outcome:
        people = self._contacts_of_device()
        if people and self._asks_too_often(people):
            return Outcome.TOO_MANY_REQUESTS
        reason = RatchetReject.NO_KEY
        for contact in people:
            for row in sessions.of_device(self._tx, contact.id, self._device_key):
                try:
                    session, plaintext = crypto.Session.decode(row.state).decrypt(packet, now=self._now)
                except crypto.Undecryptable as exc:
                    reason = reason if reason is not RatchetReject.NO_KEY else _reason(exc)
                    continue
                received_on(self._tx, row, session, now=self._now)
                return self._apply(contact, plaintext)
        return self._reject(reason) if people else Outcome.NOT_A_CONTACT

    def _first_contact(self, envelope: bytes) -> Outcome:
        if self._asks_too_often(self._contacts_of_device()):
            return Outcome.TOO_MANY_REQUESTS
        prekeys = crypto.Prekeys.decode(account.prekeys(self._tx))
        first = crypto.unseal(self._own.local, prekeys, envelope)
        if first.device.ed25519 != self._device_key:
            return self._reject(RatchetReject.MALFORMED)  # somebody hands in another device's envelope
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
        accepted = first.accept(self._own.local, prekeys, now=self._now)
        found = self._sender(first, accepted)
        if isinstance(found, Outcome):
            return found
        note_devices(self._tx, self._effects, found, first.devices, now=self._now)
        replay.remember(self._tx, first.base_key_hash, until=accepted.remember_until)
        account.set_prekeys(self._tx, accepted.prekeys.encode())
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
        contacts.seen(self._tx, contact.id, now=self._now)
        contact = contacts.get(self._tx, contact.id) or contact
        self._effects.lane(contact.id, self._device_key, Wake.SEEN)
        try:
            content = decode_content(plaintext)
        except ProtocolViolation:
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
