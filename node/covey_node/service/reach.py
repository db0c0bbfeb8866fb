"""Coming to a contact's device: a connection, and a session where contents wait for one.

Owns: the order addresses, contact record, addresses again; the fetch and check of a key bundle.
Spec: docs/spec/delivery.md, docs/spec/chat.md. Never touches: lanes, streams of messages.
"""

from __future__ import annotations

from functools import partial

import trio

from covey_core.errors import CoveyError, ProtocolViolation, Unreachable
from covey_core.host import Host
from covey_core.logs import get_logger
from covey_core.peers import PeerId, peer_id_of
from covey_node import crypto, limits
from covey_node.net.contact import fetch_bundle
from covey_node.net.dialer import Dialer
from covey_node.net.keeper import Keeper
from covey_node.protocol.frames import BundleOutcome
from covey_node.service.applying import TALKING
from covey_node.service.effects import Effects
from covey_node.service.ledger import Ledger
from covey_node.service.own import Own
from covey_node.service.people import note_devices
from covey_node.service.records import Records
from covey_node.service.sealing import seal_waiting
from covey_node.store import contacts, devices, lanes
from covey_node.store.contacts import ContactRow
from covey_node.store.tx import Tx

log = get_logger("node.reach")


class ContactReach:
    """Brings lanes to devices."""

    def __init__(self, ledger: Ledger, own: Own, host: Host, dialer: Dialer, records: Records, keeper: Keeper) -> None:
        self._ledger = ledger
        self._keeper = keeper
        self._own = own
        self._host = host
        self._dialer = dialer
        self._records = records

    async def connect(self, contact_id: int, peer: PeerId) -> None:
        """Have a connection to a device; Unreachable says in words what was tried.

        The contact record is looked up when the known addresses have failed, or are silent: several of these take as
        long as the caller waits, and what the record says is then there for the next try.
        """
        contact = await self._contact(contact_id)
        head_start, failed = trio.CancelScope(), None

        async def look_up() -> None:
            with head_start:
                await trio.sleep(limits.RECORD_HEAD_START_SECONDS)
            try:
                await self._records.look_up(contact_id)
            except CoveyError as exc:
                log.debug("node.record.unread", problem=str(exc))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look_up)
            try:
                await self._dialer.connect(peer, contact.addrs, nearby=contact.state in TALKING)
            except CoveyError as exc:
                failed = exc
                head_start.cancel()
            else:
                nursery.cancel_scope.cancel()
        if failed is None:
            return
        known, contact = contact, await self._contact(contact_id)
        if contact.addrs == known.addrs:
            raise failed
        await self._dialer.connect(peer, contact.addrs, nearby=contact.state in TALKING)

    async def prepare(self, contact_id: int, device_key: bytes) -> None:
        """Seal what waits for a session with the device, with one bundle for all of it; the connection stands."""
        if not await self._ledger.read(lambda tx: lanes.has_unsealed(tx, contact_id, device_key)):
            return
        bundle: crypto.Bundle | None = await self._bundle(await self._contact(contact_id), device_key)
        while True:
            done, more = await self._ledger.change(partial(self._seal, contact_id, device_key, bundle))
            if not more:
                return
            stands = done > 0  # the session of the bundle, or of the page before
            bundle = None if stands else await self._bundle(await self._contact(contact_id), device_key)

    def path(self, peer: PeerId) -> str:
        """Return the kind of the path that is used to a device."""
        return self._dialer.path(peer)[0].value

    def use(self, peer: PeerId) -> int | None:
        """Return the number of the connection to use to a device; None leaves it to the host."""
        return self._keeper.use(peer)

    def in_flight(self, peer: PeerId, *, flag: bool) -> None:
        """Packets to the device are on their way, or none are any more."""
        self._keeper.in_flight(peer, flag=flag)

    def acknowledged(self, peer: PeerId, number: int | None) -> None:
        """An acknowledgement came over this connection."""
        self._keeper.acknowledged(peer, number)

    def carried(self, peer: PeerId, number: int | None, size: int) -> None:
        """`size` bytes of packets were written to this connection."""
        self._keeper.carried(peer, number, size)

    async def _contact(self, contact_id: int) -> ContactRow:
        contact = await self._ledger.read(lambda tx: contacts.get(tx, contact_id))
        if contact is None:
            raise Unreachable("the contact was removed")
        return contact

    async def _bundle(self, contact: ContactRow, device_key: bytes) -> crypto.Bundle:
        reply = await fetch_bundle(self._host, peer_id_of(device_key), contact.account_key)
        if reply.outcome is BundleOutcome.NO_SUCH_ACCOUNT:
            raise Unreachable("the device at this address belongs to another account: ask for a new invite")
        if reply.outcome is not BundleOutcome.HERE:
            raise Unreachable("the other side hands out no keys now")
        bundle = crypto.Bundle.decode(reply.bundle)
        bundle.verify(now=self._own.now(), account=contact.account_key)
        if bundle.device.ed25519 != device_key:
            raise ProtocolViolation("a key bundle of another device")
        return bundle

    def _seal(
        self, contact_id: int, device_key: bytes, bundle: crypto.Bundle | None, tx: Tx, effects: Effects
    ) -> tuple[int, bool]:
        """Seal a page; return how many contents, and whether more wait."""
        contact = contacts.get(tx, contact_id)
        if contact is None:
            return 0, False
        if bundle is not None:
            note_devices(tx, effects, contact, bundle.devices, now=self._own.now())
            devices.set_bundle(tx, contact_id, device_key, bundle.encode(), now=self._own.now())
        done = seal_waiting(tx, self._own, contact, device_key, bundle)
        if done:
            effects.lane(contact_id, device_key)  # there are packets now, which may go to mailboxes too
        return done, lanes.has_unsealed(tx, contact_id, device_key)
