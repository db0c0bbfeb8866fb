"""What the doctor finds about this machine: its NAT, its addresses, its relays, what could be changed.

Owns: gathering facts from the parts that know, as views; of contacts see doctor_contacts.py. Spec: docs/spec/api.md.
Never touches: what the facts mean (protocol/advice.py), HTTP, any decision about a path.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import trio

from covey_node.protocol.addresses import host_of, ip_version_of, transport_of
from covey_node.protocol.advice import NAT_WORDS, for_machine
from covey_node.protocol.advice_facts import Advice, MachineFacts
from covey_node.service.doctor_contacts import ContactDoctor
from covey_node.service.doctor_parts import DoctorParts
from covey_node.service.port import AddressView, AdviceView, DoctorView, MappingView, NatView, PortmapView, RelayView

_UNKNOWN = "unknown"


class Doctor:
    """Looks at the machine and its contacts when asked."""

    def __init__(self, parts: DoctorParts) -> None:
        self._parts = parts
        self._contacts = ContactDoctor(parts)

    async def examine(self, contact: str | None) -> DoctorView:
        """Say how this machine is reached, and each contact; of one contact hop by hop, after a try to reach it.

        Takes up to `limits.OPEN_CHAT_SECONDS` for a contact that cannot be reached. NotFound for an unknown one.
        """
        tried = None if contact is None else await self._contacts.reach(contact)
        relays, addresses, portmap = tuple(self._parts.relays()), self._addresses(), self._portmap()
        facts = self._facts(relays, addresses)
        people = await self._contacts.examine(facts, contact, tried)
        advice = advice_views(for_machine(facts))
        asked_for = advice if contact is None else [one for view in people for one in view.advice]
        return DoctorView(
            checked_at=self._parts.now(),
            healthy=not any(one.wrong for one in asked_for),
            nat=NatView(kind=facts.nat, words=NAT_WORDS[facts.nat], udp=_udp(facts, addresses)),
            addresses=addresses,
            portmap=portmap,
            relays=relays,
            bootstraps_connected=self._parts.bootstraps(),
            contacts=people,
            advice=advice,
        )

    def _facts(self, relays: Sequence[RelayView], addresses: Sequence[AddressView]) -> MachineFacts:
        mapped = {_bare(one.external) for one in self._mappings()}
        announced = {_bare(one) for one in self._parts.announce}
        listen, reachability = tuple(self._parts.listen()), self._parts.reachability()
        return MachineFacts(
            nat=_UNKNOWN if reachability is None else _known(reachability.nat),
            relays=len(relays),
            relays_connected=sum(one.connected for one in relays),
            relays_reserved=sum(one.reserved_until is not None for one in relays),
            relay_reason=next((one.reason for one in relays if one.reason and one.reserved_until is None), None),
            listens=bool(listen),
            listens_udp=any(transport_of(one) == "quic" for one in listen),
            proven_addrs=sum(one.reachable is True for one in addresses),
            refuted_addrs=sum(one.reachable is False for one in addresses),
            announced=bool(announced),
            announced_refuted=_refuted(addresses, announced),
            portmap=self._portmap().state,
            mapped_refuted=_refuted(addresses, mapped),
        )

    def _addresses(self) -> tuple[AddressView, ...]:
        """Return our addresses: as AutoNAT knows them, else those that we listen on."""
        found: dict[str, AddressView] = {}
        for addr in (*self._parts.announce, *self._parts.listen()):
            found[_bare(addr)] = self._address(addr)
        reachability = self._parts.reachability()
        if reachability is not None:
            for one in reachability.addrs():
                view = self._address(one.addr)
                found[view.address] = replace(
                    view, reachable=one.reachable, checked_at=one.checked_at, reason=one.reason or None
                )
        return tuple(found.values())

    def _address(self, addr: str) -> AddressView:
        host = host_of(addr)
        outside = host is not None and self._parts.scope.is_reachable_from_outside(host)
        return AddressView(
            address=_bare(addr),
            transport=transport_of(addr),
            ip_version=ip_version_of(addr),
            scope="public" if outside else "local",
            reachable=None,
            checked_at=None,
            reason=None,
        )

    def _mappings(self) -> Sequence[MappingView]:
        portmap = self._parts.portmap()
        if portmap is None:
            return ()
        ahead = self._parts.now() - trio.current_time()
        return tuple(
            MappingView(
                protocol=str(one.protocol),
                internal_port=one.internal_port,
                external=one.addr,
                via=str(one.via),
                expires_at=one.expires_at + ahead,
            )
            for one in portmap.mappings()
        )

    def _portmap(self) -> PortmapView:
        if self._parts.portmap() is None:
            return PortmapView("off", ())
        mappings = tuple(self._mappings())
        return PortmapView("mapped" if mappings else "none", mappings)


def advice_views(found: Iterable[Advice]) -> tuple[AdviceView, ...]:
    """Return advice as the port's values."""
    return tuple(AdviceView(one.code, one.words, one.wrong) for one in found)


def _known(kind: str) -> str:
    return str(kind) if str(kind) in NAT_WORDS else _UNKNOWN


def _udp(facts: MachineFacts, addresses: Sequence[AddressView]) -> str:
    """Say whether UDP gets out: a NAT kind other than that was judged from what came back over it."""
    if any(one.transport == "quic" and one.reachable for one in addresses):
        return "works"
    if facts.nat == _UNKNOWN:
        return _UNKNOWN
    return "blocked" if facts.nat == "udp_blocked" else "works"


def _refuted(addresses: Sequence[AddressView], chosen: set[str]) -> bool:
    """Whether all of the chosen addresses that were tried from outside were tried in vain, and one was."""
    tried = [one.reachable for one in addresses if one.address in chosen and one.reachable is not None]
    return bool(tried) and not any(tried)


def _bare(addr: str) -> str:
    return addr.partition("/p2p/")[0]
