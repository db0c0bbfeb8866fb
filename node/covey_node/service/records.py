"""Our contact record, published and kept fresh; the records of contacts, found and taken over.

Owns: when to publish and to look up, and the refusal to go back. Spec: docs/spec/contact-record.md.
Never touches: the DHT's workings (net/records.py), how a connection is made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import trio

from covey_core.errors import CoveyError, ProtocolViolation
from covey_core.host.dht import Dht
from covey_core.logs import get_logger
from covey_core.network import Network
from covey_core.records import decode_record, record_key
from covey_node import crypto, limits
from covey_node.net.records import open_record_exchange, servers_of
from covey_node.protocol.record import InnerRecord
from covey_node.service.composing import own_addrs
from covey_node.service.effects import Effects
from covey_node.service.ledger import Ledger
from covey_node.service.own import Own, record_keys
from covey_node.service.people import note_devices
from covey_node.service.record_making import make_record
from covey_node.store import account, contacts, devices
from covey_node.store.contacts import ContactRow
from covey_node.store.tx import Tx

log = get_logger("node.records")


@dataclass(slots=True)
class Published:
    """The last publication: when (Unix seconds) and at how many holders."""

    at: float | None = None
    holders: int = 0


class Records:
    """Publishes ours and finds those of contacts."""

    def __init__(self, ledger: Ledger, own: Own, network: Network) -> None:
        self._ledger = ledger
        self._own = own
        self._network = network
        self._dht: Dht | None = None
        self._changed = trio.Event()
        self._looked_up: dict[int, float] = {}
        self.published = Published()
        ledger.follow(self._followed)

    @property
    def servers(self) -> int:
        """How many DHT servers we know."""
        return 0 if self._dht is None else self._dht.routing_peers

    async def run(self) -> None:
        """Publish at start, when our addresses or keys change, and every 6 h; until cancelled."""
        async with open_record_exchange(self._network, wall_clock=self._own.now) as dht:
            self._dht = dht
            try:
                await dht.bootstrap(servers_of(self._network))
                while True:
                    self._changed = trio.Event()
                    done = await self._publish(dht)
                    pause = limits.RECORD_PUBLISH_SECONDS if done else limits.RECORD_RETRY_SECONDS
                    with trio.move_on_after(pause):
                        await self._changed.wait()
                        await trio.sleep(limits.RECORD_SETTLE_SECONDS)  # several changes come together
            finally:
                self._dht = None

    async def look_up(self, contact_id: int) -> bool:
        """Find a contact's newest record and take it over; whether anything new came. At most once a minute."""
        now, dht = trio.current_time(), self._dht  # the end of `run` takes it away while we wait below
        if dht is None or now - self._looked_up.get(contact_id, -math.inf) < limits.RECORD_LOOKUP_SECONDS_MIN:
            return False
        self._looked_up[contact_id] = now
        try:
            return await self._look_up(dht, contact_id)
        except BaseException:
            self._looked_up.pop(contact_id, None)  # given up half way: that was none
            raise

    async def _look_up(self, dht: Dht, contact_id: int) -> bool:
        contact = await self._ledger.read(lambda tx: contacts.get(tx, contact_id))
        if contact is None or contact.record_key is None or contact.record_secret is None:
            self._looked_up.pop(contact_id, None)
            return False
        share = crypto.RecordShare(contact.record_key, contact.record_secret)
        today = crypto.day_of(self._own.now())
        found: list[tuple[int, bytes]] = []

        async def of_day(dht: Dht, day: int, key: str) -> None:
            found.extend((day, value) for value in await dht.get(key))

        keys = {day: record_key(share.blinded_key(day)) for day in (today, today - 1, today + 1)}
        async with trio.open_nursery() as nursery:
            for day, key in keys.items():
                nursery.start_soon(of_day, dht, day, key)
        best = max(filter(None, (_open(share, day, value, contact) for day, value in found)), key=_made, default=None)
        if best is None or best.made <= contact.record_sequence_seen:
            return False
        try:
            return await self._ledger.change(lambda tx, effects: self._take_over(tx, effects, contact_id, best))
        except ProtocolViolation as exc:
            log.warning("node.record.refused", problem=str(exc))
            return False

    def _followed(self, effects: Effects) -> None:
        if effects.publish_record:
            self._changed.set()

    async def _publish(self, dht: Dht) -> bool:
        made = await self._ledger.note(lambda tx, _effects: self._make(tx))
        if made is None:
            return False
        key, value = made
        try:
            holders = await dht.put(key, value)
        except CoveyError as exc:
            log.warning("node.record.failed", problem=str(exc))
            holders = 0
        if holders:
            self.published = Published(self._own.now(), holders)
            self._ledger.events.publish("node", {"record_holders": holders})
            log.info("node.record.published", holders=holders)
        return holders > 0

    def _make(self, tx: Tx) -> tuple[str, bytes]:
        now = self._own.now()
        row = account.load(tx)
        assert row is not None  # noqa: S101 - a node does not run without an account
        prekeys = crypto.Prekeys.decode(row.prekeys).rotate(self._own.rng, now=now)
        bundle = prekeys.bundle(self._own.local, now=now)
        prekeys = prekeys.signed_ahead(until=now + limits.RECORD_LIFETIME_SECONDS)
        account.set_prekeys(tx, prekeys.encode())
        sequence = account.next_record_sequence(tx, at_least=int(now))
        made = make_record(
            self._own,
            record_keys(row),
            day=crypto.day_of(now),
            sequence=sequence,
            made=sequence,
            expires_at=int(now) + limits.RECORD_LIFETIME_SECONDS,
            addrs=own_addrs(tx),
            bundle=bundle,
        )
        return made.key, made.value

    def _take_over(self, tx: Tx, effects: Effects, contact_id: int, record: InnerRecord) -> bool:
        contact = contacts.get(tx, contact_id)
        if contact is None or record.made <= contact.record_sequence_seen:
            return False
        now = self._own.now()
        bundle = crypto.Bundle.decode(record.bundle)
        bundle.verify(now=now, account=contact.account_key)
        note_devices(tx, effects, contact, bundle.devices, now=now)
        devices.set_bundle(tx, contact.id, bundle.device.ed25519, record.bundle, now=now)
        current = contacts.get(tx, contact_id) or contact
        contacts.save(tx, replace(current, addrs=record.addrs, record_sequence_seen=record.made))
        return True


def _open(share: crypto.RecordShare, day: int, value: bytes, contact: ContactRow) -> InnerRecord | None:
    try:
        outer = decode_record(value)
        inner = InnerRecord.decode(share.open(day, outer.ciphertext), account_key=contact.account_key)
    except CoveyError as exc:
        log.debug("node.record.refused", problem=str(exc))
        return None
    return inner if inner.sequence == outer.sequence else None


def _made(record: InnerRecord) -> int:
    return record.made
