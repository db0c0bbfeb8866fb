"""Slots at contacts' nodes, for a node that finds too few relays of its network.

Owns: which contacts are asked, and when. Spec: docs/spec/autonat.md, "Every public node helps".
Never touches: how slots are kept (net/relays.py), whether a contact helps (it decides).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Protocol

import trio

from covey_core.errors import CoveyError, FileDamaged, StreamLost
from covey_core.host import ConnectionInfo, Host
from covey_core.limits import CIRCUIT_MESSAGE_BYTES
from covey_core.logs import get_logger
from covey_core.peers import PeerId, ed25519_key_in
from covey_core.wire.circuit import HOP_PROTOCOL, HopMessage, HopType, Status, decode_hop, encode_hop
from covey_core.wire.direct_addr import DirectAddr
from covey_node import limits
from covey_node.protocol.status import ContactState
from covey_node.service.ledger import Ledger
from covey_node.store import contacts, devices
from covey_node.store.errors import StoreError
from covey_node.store.tx import Tx

log = get_logger("node.spares")


async def is_accepted(ledger: Ledger, peer: PeerId) -> bool:
    """Whether a device is one of an accepted contact's; False also when the database fails."""
    key = ed25519_key_in(peer)
    if key is None:
        return False

    def find(tx: Tx) -> bool:
        rows = (contacts.get(tx, device.contact_id) for device in devices.with_key(tx, key))
        return any(row is not None and row.state is ContactState.ACCEPTED for row in rows)

    try:
        return await ledger.read(find)
    except (StoreError, FileDamaged) as exc:
        log.warning("node.spares.left_out", problem=type(exc).__name__)
        return False


class Slot(Protocol):
    """A relay that keeps a slot for us."""

    peer: PeerId


class Slots(Protocol):
    """Who keeps slots at relays (net/relays.py)."""

    def held(self) -> Collection[Slot]:
        """Return the relays that keep a slot for us, spares among them."""

    def add_spare(self, peer: PeerId, addrs: tuple[str, ...]) -> None:
        """Take a contact's node for one more relay, of the lowest preference."""

    def drop_spare(self, peer: PeerId) -> None:
        """Forget it."""


class Spares:
    """Finds contacts' nodes that help. `is_contact` tells whether a device is one of an accepted contact's.

    `is_public` says whether we are reached without any relay.
    """

    def __init__(
        self, host: Host, slots: Slots, is_contact: Callable[[PeerId], Awaitable[bool]], is_public: Callable[[], bool]
    ) -> None:
        self._is_public = is_public
        self._host = host
        self._slots = slots
        self._is_contact = is_contact
        self._asked: dict[PeerId, float] = {}
        self._spares: set[PeerId] = set()

    async def run(self) -> None:
        """Look now and then until cancelled."""
        while True:
            await self.look()
            await trio.sleep(limits.SPARE_LOOK_SECONDS)

    async def look(self) -> None:
        """Take slots at contacts' nodes while there are too few relays; leave them when there are enough."""
        here = {info.peer: info for info in self._host.connections() if not info.relayed and info.admitted}
        held = {slot.peer for slot in self._slots.held()}
        enough = self._is_public() or len(held - self._spares) >= limits.RESERVATIONS_WANTED
        for peer in [peer for peer in self._spares if enough or (peer not in here and peer not in held)]:
            self._spares.discard(peer)
            self._slots.drop_spare(peer)
        if enough:
            return
        now = trio.current_time()
        self._asked = {peer: at for peer, at in self._asked.items() if now - at < limits.SPARE_ASK_SECONDS}
        for peer, info in here.items():
            if len(self._spares) >= limits.SPARES_MAX:
                return
            if peer not in held and peer not in self._spares and peer not in self._asked:
                await self._try(peer, info, now)

    async def _try(self, peer: PeerId, info: ConnectionInfo, now: float) -> None:
        if not await self._is_contact(peer):
            return
        self._asked[peer] = now
        try:
            with trio.fail_after(limits.SPARE_ANSWER_SECONDS):
                addrs = await self._reserve(peer, on=info.number)
        except (CoveyError, trio.TooSlowError):
            return  # it does not help, or not now
        if addrs:
            log.info("node.spare.found")
            self._spares.add(peer)
            self._slots.add_spare(peer, addrs)

    async def _reserve(self, peer: PeerId, *, on: int) -> tuple[str, ...]:
        """Ask for a slot and return where others reach this node, by its own word, as the network's scope allows.

        What identify said when the connection began does not tell: a node that has begun to help tells nobody.
        """
        stream = await self._host.open_stream(peer, HOP_PROTOCOL, on=on)
        try:
            await stream.write_frame(encode_hop(HopMessage(HopType.RESERVE)), limit=CIRCUIT_MESSAGE_BYTES)
            frame = await stream.read_frame(limit=CIRCUIT_MESSAGE_BYTES)
        finally:
            await stream.close()
        if frame is None:
            raise StreamLost("the other side closed the stream")
        answer = decode_hop(frame)
        if answer.status is not Status.OK or answer.reservation is None:
            return ()
        found = (DirectAddr.decode(raw) for raw in answer.reservation.addrs)
        scope = self._host.network.scope
        return tuple(f"{addr}/p2p/{peer}" for addr in found if addr and scope.is_reachable_from_outside(addr.ip))
