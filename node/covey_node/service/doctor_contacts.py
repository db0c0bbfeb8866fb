"""What the doctor finds about contacts: the paths to them, the last hole punches, what could be changed.

Owns: gathering facts about the way to a contact, as views; the try to reach one that is asked for.
Never touches: what the facts mean (protocol/advice.py, protocol/hops.py).
"""

from __future__ import annotations

import trio

from covey_core.errors import CoveyError
from covey_core.peers import PeerId, peer_id_of
from covey_node import limits
from covey_node.protocol.addresses import Direct, Through, usable
from covey_node.protocol.advice import for_contact, punch_words
from covey_node.protocol.advice_facts import ContactFacts, MachineFacts
from covey_node.protocol.hops import hops
from covey_node.protocol.paths import PathKind
from covey_node.protocol.status import ContactState
from covey_node.service.doctor_parts import DoctorParts, Punch
from covey_node.service.naming import find_contact
from covey_node.service.path_watch import NO_PATH, PeerPath
from covey_node.service.port import (
    AdviceView,
    ContactDoctorView,
    HopView,
    PunchAddressView,
    PunchView,
    StandingPathView,
)
from covey_node.service.sealing import device_keys
from covey_node.store import contacts
from covey_node.store.contacts import ContactRow
from covey_node.store.tx import Tx

_KINDS = tuple(PathKind)
_SHOWN = (ContactState.ACCEPTED, ContactState.REQUESTED, ContactState.REQUESTING, ContactState.INCOMING)
_Person = tuple[ContactRow, tuple[PeerId, ...]]


class ContactDoctor:
    """Looks at the ways to contacts."""

    def __init__(self, parts: DoctorParts) -> None:
        self._parts = parts

    async def reach(self, contact: str) -> str | None:
        """Try to reach a contact that no path leads to; return why that failed, None when a path stands.

        NotFound for an unknown one. Nobody is called who has not accepted us.
        """
        row, peers = await self._parts.ledger.read(lambda tx: _person(tx, find_contact(tx, contact)))
        if row.state is not ContactState.ACCEPTED or self._path(peers).kind is not PathKind.NONE:
            return None
        reasons = []
        with trio.move_on_after(limits.OPEN_CHAT_SECONDS) as scope:
            for peer in peers:
                try:
                    await self._parts.tries(row.id, peer)
                except CoveyError as exc:
                    reasons.append(str(exc))
                else:
                    return None
        if scope.cancelled_caught:
            reasons.append("no answer in time")
        return "; ".join(dict.fromkeys(reasons)) or None

    async def examine(
        self, machine: MachineFacts, contact: str | None, tried: str | None
    ) -> tuple[ContactDoctorView, ...]:
        """Return what is known of the way to each contact, or to one with its steps; `tried` says why it failed."""

        def find(tx: Tx) -> list[_Person]:
            if contact is not None:
                return [_person(tx, find_contact(tx, contact))]
            rows = sorted(contacts.all_in(tx, _SHOWN), key=lambda row: (_SHOWN.index(row.state), row.alias))
            return [_person(tx, row) for row in rows]

        people = await self._parts.ledger.read(find)
        return tuple(self._view(machine, person, tried, steps=contact is not None) for person in people)

    def _view(self, machine: MachineFacts, person: _Person, tried: str | None, *, steps: bool) -> ContactDoctorView:
        row, peers = person
        path = self._path(peers)
        punches = sorted((punch for peer in peers for punch in self._parts.punches(peer)), key=lambda one: -one.at)
        last = punches[0] if punches else None
        targets = [target for peer in peers for target in usable(row.addrs, peer)]
        facts = ContactFacts(
            alias=row.alias,
            state=row.state,
            path=path.kind,
            devices=len(peers),
            direct_addrs=sum(isinstance(target, Direct) for target in targets),
            relays=len({target.relay for target in targets if isinstance(target, Through)}),
            relayed=any(info.relayed for peer in peers for info in self._parts.paths.standing(peer)),
            tried=tried,
            punch_outcome=None if last is None else str(last.outcome),
            punch_reason=None if last is None or last.reason is None else str(last.reason),
            punch_attempts=0 if last is None else last.attempts,
            their_nat=next((punch.their_nat for punch in punches if punch.their_nat), "unknown"),
        )
        return ContactDoctorView(
            alias=row.alias,
            state=row.state.value,
            path=path.kind,
            transport=path.transport,
            relay=path.relay,
            since=path.since,
            paths=tuple(view for peer in peers for view in self._standing(peer)),
            punches=tuple(map(_punch_view, punches)),
            hops=tuple(HopView(one.code, one.ok, one.words) for one in hops(machine, facts)) if steps else (),
            advice=tuple(AdviceView(one.code, one.words, one.wrong) for one in for_contact(machine, facts)),
        )

    def _path(self, peers: tuple[PeerId, ...]) -> PeerPath:
        """Return the best path to any device."""
        found = [self._parts.paths.path(peer) for peer in peers]
        return min(found, key=lambda path: _KINDS.index(path.kind), default=NO_PATH)

    def _standing(self, peer: PeerId) -> list[StandingPathView]:
        watch = self._parts.paths
        kept = {one.number: one for one in self._parts.kept(peer)}
        # Two circuits through one relay have the same address: the keeper knows which of them is used.
        address = watch.path(peer).address
        alike = [info.number for info in watch.standing(peer) if info.remote_addr == address]
        used = min(alike, key=lambda number: number not in kept or kept[number].state != "used", default=None)
        ahead = self._parts.now() - trio.current_time()
        return [
            StandingPathView(
                path=watch.kind_of(info),
                transport=watch.transport_of(info),
                relay=watch.operator(info),
                address=info.remote_addr,
                since=info.opened_at + ahead,
                used=info.number == used,
                state=str(kept[info.number].state) if info.number in kept else None,
                rtt_seconds=kept[info.number].rtt_seconds if info.number in kept else None,
            )
            for info in watch.standing(peer)
        ]


def _person(tx: Tx, row: ContactRow) -> _Person:
    return row, tuple(peer_id_of(key) for key in device_keys(tx, row))


def _punch_view(punch: Punch) -> PunchView:
    reason = None if punch.reason is None else str(punch.reason)
    return PunchView(
        at=punch.at,
        side=str(punch.side),
        attempts=punch.attempts,
        outcome=str(punch.outcome),
        reason=reason,
        words=punch_words(str(punch.outcome), reason),
        seconds=punch.seconds,
        transport=None if punch.transport is None else str(punch.transport),
        addresses=tuple(
            PunchAddressView(one.addr, str(one.transport), str(one.ip_version), str(one.outcome), str(one.reason or ""))
            for one in punch.addresses
        ),
    )
