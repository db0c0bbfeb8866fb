"""Requests of ours to people who are away: keys taken from a relay of theirs, the request laid down at all of them.

Owns: when that is tried, and what is told of it. Spec: docs/spec/first-contact.md, "The newcomer".
Never touches: the direct way, which goes on beside this (delivery.py); what becomes of the answer (applying.py).
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from functools import partial

import trio

from covey_core.errors import CoveyError, ProtocolViolation
from covey_core.logs import get_logger
from covey_core.peers import peer_id_from_bytes
from covey_core.wire.mailbox import Answer, Key, Reason, Refused, Stored
from covey_node import crypto, limits
from covey_node.crypto.replica import ReplicaKeys
from covey_node.net.alarm import Alarm
from covey_node.net.lasting import failed
from covey_node.net.mailbox import At, MailboxClient
from covey_node.protocol.backoff import Backoff
from covey_node.protocol.contents import ContactRequest, decode_content
from covey_node.protocol.status import ContactState
from covey_node.service.effects import Effects
from covey_node.service.ledger import Ledger
from covey_node.service.own import Own
from covey_node.service.people import note_devices
from covey_node.service.proving import Prover, Working
from covey_node.service.sealing import packet_hash, seal_waiting
from covey_node.store import contact_places, contacts, devices, queues
from covey_node.store.contact_places import Place
from covey_node.store.contacts import ContactRow
from covey_node.store.tx import Tx

log = get_logger("node.newcomer")

_PAUSE = Backoff(limits.REQUEST_RETRY_SECONDS_MIN, limits.REQUEST_RETRY_SECONDS_MAX)
_WAITING_MAX = 16  # contents for one device that are looked through for the request: it is the first

_WORDS = {
    Reason.QUOTA: "their mailbox for requests is full",
    Reason.BUSY: "their relay takes nothing now",
    Reason.WORK: "their relay did not take the proof",
    Reason.EMPTY: "their relay has no keys of theirs",
    Reason.UNREACHABLE: "their relay is not reached",
}
_NO_TOKEN = "their relay does not know this mailbox any more"  # noqa: S105 - words
_TOKEN = "their relay does not take this invite: it was used, taken back or is over, or it was made a moment ago"  # noqa: S105


class NotTaken(CoveyError):
    """A relay of the other side did not do what was asked; the text says why."""


@dataclass(frozen=True, slots=True)
class _Request:
    """One request that is not with its device yet; `packet` once it is sealed."""

    contact: ContactRow
    places: tuple[Place, ...]
    packet: bytes | None = field(repr=False)

    @property
    def open_places(self) -> list[Place]:
        """Those where this packet does not lie, as far as we know."""
        digest = None if self.packet is None else packet_hash(self.packet)
        return [place for place in self.places if place.packet_hash is None or place.packet_hash != digest]


class Newcomer:
    """Lays our requests down, one task a contact."""

    def __init__(self, ledger: Ledger, own: Own, client: MailboxClient) -> None:
        self._ledger = ledger
        self._own = own
        self._client = client
        self._prover = Prover(client)
        self._running: dict[int, Alarm] = {}
        self._wanted: dict[int, None] = {}
        self._more = Alarm()
        self._room = trio.CapacityLimiter(limits.REQUESTS_AT_ONCE)
        ledger.follow(self._followed)

    async def run(self) -> None:
        """Lay down what waits, and what comes to wait, until cancelled."""
        self._wanted.update(dict.fromkeys(await self._ledger.read(contact_places.contacts)))
        async with trio.open_nursery() as nursery:
            while True:
                for contact_id in [one for one in self._wanted if one not in self._running]:
                    del self._wanted[contact_id]
                    self._running[contact_id] = Alarm()
                    nursery.start_soon(self._run_one, contact_id)
                await self._more.wait()

    def _followed(self, effects: Effects) -> None:
        for contact_id in effects.contacts:
            if contact_id in self._running:
                self._running[contact_id].ring()
        if effects.requests:
            self._wanted.update(effects.requests)
            self._more.ring()

    async def _run_one(self, contact_id: int) -> None:
        try:
            await failed("newcomer", partial(self._lay_down, contact_id))
        finally:
            del self._running[contact_id]
            self._more.ring()

    async def _lay_down(self, contact_id: int) -> None:
        """Go on until the request lies at all places, or need not any more."""
        await trio.sleep(limits.REQUEST_HEAD_START_SECONDS)  # who is there is reached directly by then
        failures = 0
        while (request := await self._ledger.read(partial(self._look, contact_id))) is not None:
            try:
                async with self._room:
                    if request.packet is None:
                        await self._tell(contact_id, "asking their relays for their keys")
                        await self._seal(request)
                        continue
                    if await self._put_all(request):
                        return
            except NotTaken as exc:
                await self._tell(contact_id, str(exc))
            except CoveyError as exc:  # our own database; its words are for its owner
                log.warning("node.newcomer.interrupted", problem=type(exc).__name__)
            failures += 1
            pause = _PAUSE.wait_seconds(failures, random=random.random)
            await self._changed(contact_id, pause)

    def _look(self, contact_id: int, tx: Tx) -> _Request | None:
        contact = contacts.get(tx, contact_id)
        if contact is None or contact.state is not ContactState.REQUESTING:
            return None
        places = contact_places.of_contact(tx, contact_id)
        if not places:
            return None
        for one in contact_places.waiting(tx, contact_id, places[0].device_key, limit=_WAITING_MAX):
            if isinstance(decode_content(one.content).body, ContactRequest):
                answered = one.packet is not None and crypto.packet_kind(one.packet) is crypto.PacketKind.ESTABLISHED
                return None if answered else _Request(contact, places, one.packet)
        return None

    async def _changed(self, contact_id: int, seconds: float) -> None:
        """Wait, and no longer than until the contact is another than the one who has our request to come."""
        deadline = trio.current_time() + seconds
        while trio.current_time() < deadline and await self._ledger.read(partial(self._look, contact_id)) is not None:
            await self._running[contact_id].wait(deadline)

    # --- keys and session ---------------------------------------------------------------------------------------------

    async def _seal(self, request: _Request) -> None:
        """Start a session with keys that a relay of theirs hands out, and seal what waits; `NotTaken`."""
        await self._own_mailboxes(request.contact.id)
        problems: list[str] = []
        for place in random.sample(request.places, len(request.places)):
            try:
                bundle = await self._bundle(request.contact, place)
            except NotTaken as exc:
                problems.append(str(exc))
                continue
            try:
                await self._ledger.change(partial(self._sealed, request.contact.id, place.device_key, bundle))
            except ProtocolViolation:
                problems.append("their relay handed out an older list of their devices")
                continue
            return
        raise NotTaken(f"no relay of theirs handed out their keys: {'; '.join(dict.fromkeys(problems))}")

    async def _own_mailboxes(self, contact_id: int) -> None:
        """Wait a while for mailboxes of ours that can be told in the request, where there may be any."""
        if not self._client.relays():
            return
        with trio.move_on_after(limits.REQUEST_MAILBOXES_SECONDS):
            while await self._ledger.read(lambda tx: queues.for_contact(tx, contact_id)) is None:
                await self._running[contact_id].wait(trio.current_time() + limits.REQUEST_LOOK_SECONDS)

    async def _bundle(self, contact: ContactRow, place: Place) -> crypto.Bundle:
        """Take keys at one place; they are the device's, by its account's word. `NotTaken`."""
        secret = _secret(contact, place)
        try:
            answer = await self._prover.take(
                _at(place),
                place.send_id,
                self._own.rng(16),
                secret=secret,
                working=self._working(contact.id),
            )
        except CoveyError as exc:
            raise NotTaken(str(exc)) from exc
        if not isinstance(answer, Key):
            raise NotTaken(_words(answer, token=secret is not None))
        try:
            return _opened(answer, contact, place, now=self._own.now())
        except crypto.PrekeysExpired as exc:
            raise NotTaken("the keys at their relay are too old: they were not online for weeks") from exc
        except ProtocolViolation as exc:
            log.warning("node.newcomer.keys_refused")
            raise NotTaken("their relay handed out keys that are not theirs") from exc

    def _sealed(self, contact_id: int, device_key: bytes, bundle: crypto.Bundle, tx: Tx, effects: Effects) -> None:
        """Seal what waits, unless the direct way was faster, in the transaction that keeps the session."""
        contact = contacts.get(tx, contact_id)
        if contact is None or contact.state is not ContactState.REQUESTING:
            return
        note_devices(tx, effects, contact, bundle.devices, now=self._own.now())
        devices.set_bundle(tx, contact_id, device_key, replace(bundle, one_time=None).encode(), now=self._own.now())
        seal_waiting(tx, self._own, contacts.get(tx, contact_id) or contact, device_key, bundle)
        effects.lane(contact_id, device_key)

    # --- deposit ------------------------------------------------------------------------------------------------------

    async def _put_all(self, request: _Request) -> bool:
        """Deposit where the packet does not lie yet; whether it lies everywhere now."""
        assert request.packet is not None  # noqa: S101 - the caller looked
        async with trio.open_nursery() as nursery:
            for place in request.open_places:
                nursery.start_soon(self._put, request.contact, place, request.packet)
        after = await self._ledger.read(lambda tx: contact_places.of_contact(tx, request.contact.id))
        digest = packet_hash(request.packet)
        lying = sum(place.packet_hash == digest for place in after)
        trouble = "; ".join(dict.fromkeys(place.reason for place in after if place.reason))
        if lying:
            text = f"your request lies at {lying} of {len(after)} of their relays, and they have not come by yet"
            await self._tell(request.contact.id, f"{text} ({trouble})" if trouble else text)
        else:
            await self._tell(request.contact.id, f"no relay of theirs took your request: {trouble}")
        return lying == len(after)

    async def _put(self, contact: ContactRow, place: Place, packet: bytes) -> None:
        keys, secret = ReplicaKeys.derive(place.secret, place.relay, place.send_id), _secret(contact, place)
        reason: str | None
        try:
            answer = await self._prover.put(
                _at(place),
                place.send_id,
                keys.mid(packet),
                keys.seal(packet),
                ttl_seconds=limits.REQUEST_TTL_SECONDS,
                secret=secret,
                working=self._working(contact.id),
            )
        except CoveyError as exc:
            reason = str(exc)
        else:
            reason = None if isinstance(answer, Stored) else _words(answer, token=secret is not None)

        def note(tx: Tx, _effects: Effects) -> None:
            if reason is None:
                contact_places.stored(tx, contact.id, place.relay, packet_hash=packet_hash(packet), now=self._own.now())
            else:
                contact_places.refused(tx, contact.id, place.relay, reason=reason)

        await self._ledger.note(note)

    # --- words --------------------------------------------------------------------------------------------------------

    async def _tell(self, contact_id: int, reason: str) -> None:
        """Show what is being done for a request, or why it came to nothing."""

        def tell(tx: Tx, effects: Effects) -> None:
            contact = contacts.get(tx, contact_id)
            if contact is not None and contact.state is ContactState.REQUESTING and contact.reason != reason:
                contacts.save(tx, replace(contact, reason=reason))
                effects.contact(contact_id)

        await self._ledger.note(tell)

    def _working(self, contact_id: int) -> Working:
        async def tell(bits: int) -> None:
            await self._tell(contact_id, f"working on the proof that their relay asks of strangers ({bits} bits)")

        return tell


def _opened(answer: Key, contact: ContactRow, place: Place, *, now: float) -> crypto.Bundle:
    keys = crypto.StockKeys.derive(place.secret, place.relay, place.send_id)
    bundle = keys.open_bundle(answer.bundle)
    bundle.verify(now=now, account=contact.account_key)
    if bundle.ed25519 != place.device_key:
        raise ProtocolViolation("a key bundle of another device")
    return bundle.with_one_time(keys.open_pair(answer.one_time)) if answer.one_time else bundle


def _at(place: Place) -> At:
    return At(peer_id_from_bytes(place.relay), place.addrs)


def _secret(contact: ContactRow, place: Place) -> bytes | None:
    token = contact.invite_token
    return None if token is None else crypto.admission_secret(token, place.relay)


def _words(answer: Answer, *, token: bool) -> str:
    match answer:
        case Refused(Reason.AUTH):
            return _TOKEN if token else _NO_TOKEN
        case Refused(reason):
            return _WORDS[reason]
    return "their relay answered something else"
