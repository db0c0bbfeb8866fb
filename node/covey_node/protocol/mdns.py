"""Multicast DNS as libp2p uses it: who asks for peers, who answers, and with which addresses.

Owns: the packets. Spec: libp2p specs, discovery/mdns.md; RFC 6762, RFC 6763; docs/spec/mdns.md.
Never touches: sockets, who is believed (neighbours.py), when to ask (net/lan.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from covey_core.errors import ProtocolViolation
from covey_core.peers import PeerId
from covey_node import limits
from covey_node.protocol.addresses import Direct, parse

_META: Final = dns.name.from_text("_services._dns-sd._udp.local.")
_HOSTS: Final = "p2p.local."
_PREFIX: Final = b"dnsaddr="
_TEXT_BYTES: Final = 255  # RFC 6763 section 6.1: one length byte
_MARKS: Final = (b"p2p", b"_dns-sd")  # one of them stands, uncompressed, in whatever concerns us
_PORT: Final = 4001  # an SRV record has one; libp2p's peers read the TXT record only

ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz0123456789"
"""What peer names are made of."""


@dataclass(frozen=True, slots=True)
class Service:
    """What peers of a network ask for, and our name there: random, new at each start."""

    name: dns.name.Name
    instance: dns.name.Name
    host: dns.name.Name


@dataclass(frozen=True, slots=True)
class Found:
    """What one peer says of itself; no addresses: it goes. `addrs` end in /p2p/<peer>."""

    peer: PeerId
    addrs: tuple[str, ...]
    ttl_seconds: int


@dataclass(frozen=True, slots=True)
class Heard:
    """One packet's content, as far as it concerns us."""

    asks: bool = False
    asks_for_services: bool = False
    found: tuple[Found, ...] = ()


def service(peer_name: str, *, network: str = "") -> Service:
    """Return the names under which to ask and answer.

    `peer_name` are 32 to 63 characters of `ALPHABET`; `network` are 8 hexadecimal characters for a network that keeps
    to itself, as libp2p's fingerprint of a private network.
    """
    label = f"_p2p-{network}" if network else "_p2p"
    name = dns.name.from_text(f"{label}._udp.local.")
    return Service(name, dns.name.from_text(peer_name, name), dns.name.from_text(f"{peer_name}.{_HOSTS}"))


def query(of: Service) -> bytes:
    """Return a packet that asks for all peers."""
    message = dns.message.Message(id=0)
    message.flags = dns.flags.Flag(0)
    message.question.append(_rrset(of.name, "PTR"))
    return message.to_wire()


def answer(of: Service, addrs: Iterable[str], ips: Iterable[str], *, ttl_seconds: int) -> bytes:
    """Return a packet that says where we are; with `ttl_seconds` 0: that we go.

    `addrs` end in /p2p/<us>; those that do not fit into a TXT string or the packet are left out. All are strings of
    one TXT record: go-libp2p reads the last record only.
    """
    texts, total = [], 0
    for addr in addrs:
        text = _PREFIX.decode() + addr
        if len(text) > _TEXT_BYTES or total + len(text) > limits.MDNS_TEXT_BYTES:
            continue
        texts.append(f'"{text}"')
        total += len(text) + 1
    message = _response()
    message.answer.append(_rrset(of.name, "PTR", ttl_seconds, of.instance.to_text()))
    message.additional.append(_rrset(of.instance, "TXT", ttl_seconds, " ".join(texts) or '""'))
    message.additional.append(_rrset(of.instance, "SRV", ttl_seconds, f"0 0 {_PORT} {of.host.to_text()}"))
    for ip in ips:
        message.additional.append(_rrset(of.host, "AAAA" if ":" in ip else "A", ttl_seconds, ip))
    return message.to_wire()


def services_answer(of: Service, *, ttl_seconds: int) -> bytes:
    """Return a packet that says, to who lists the services of this network, that ours is there."""
    message = _response()
    message.answer.append(_rrset(_META, "PTR", ttl_seconds, of.name.to_text()))
    return message.to_wire()


def decode(packet: bytes, of: Service) -> Heard | None:
    """Return what a packet says to us, None when it is about something else; ProtocolViolation when it is damaged."""
    if len(packet) > limits.MDNS_PACKET_BYTES:
        raise ProtocolViolation(f"a multicast DNS packet of {len(packet)} bytes")
    lowered = packet.lower()
    if not any(mark in lowered for mark in _MARKS):
        return None
    try:
        message = dns.message.from_wire(packet, one_rr_per_rrset=True, ignore_trailing=True)
        return _answers(message, of) if message.flags & dns.flags.QR else _questions(message, of)
    except (dns.exception.DNSException, ValueError, IndexError, UnicodeError) as exc:
        raise ProtocolViolation("a damaged multicast DNS packet") from exc


def _questions(message: dns.message.Message, of: Service) -> Heard | None:
    ours = {of.name, of.instance, of.host}
    asked = {entry.name for entry in message.question}
    knows_us = any(
        record.target == of.instance and entry.ttl >= limits.MDNS_TTL_SECONDS / 2
        for entry, record in _records(message.answer, dns.rdatatype.PTR)
        if entry.name == of.name
    )
    asks = bool(asked & ours) and not (knows_us and asked <= {of.name})
    return Heard(asks=asks, asks_for_services=_META in asked) if asks or _META in asked else None


def _answers(message: dns.message.Message, of: Service) -> Heard | None:
    named: dict[dns.name.Name, int] = {}
    for entry, record in _records(message.answer, dns.rdatatype.PTR):
        if entry.name == of.name and record.target not in (of.instance, of.name):
            named[record.target] = entry.ttl
    texts: dict[dns.name.Name, list[bytes]] = {}
    for section in (message.additional, message.answer):  # the specification's place, and js-libp2p's
        for entry, record in _records(section, dns.rdatatype.TXT):
            if entry.name in named:
                texts.setdefault(entry.name, []).extend(record.strings)
    found = []
    for name, ttl in list(named.items())[: limits.MDNS_PEERS_PER_PACKET]:
        peer, addrs = _addrs(texts.get(name, []))
        if peer is not None:
            found.append(Found(peer, addrs, ttl))
    return Heard(found=tuple(found)) if found else None


def _addrs(texts: list[bytes]) -> tuple[PeerId | None, tuple[str, ...]]:
    """Return the peer that the strings name, and its addresses; strings about another peer than the first are left."""
    peer: PeerId | None = None
    addrs: dict[str, None] = {}
    for text in texts:
        if not text.lower().startswith(_PREFIX) or len(addrs) >= limits.MDNS_ADDRS_PER_PEER:
            continue
        try:
            target = parse(text[len(_PREFIX) :].decode("ascii"))
        except (ProtocolViolation, UnicodeDecodeError):
            continue
        if isinstance(target, Direct) and peer in (None, target.peer):
            peer = target.peer
            addrs[target.addr] = None
    return peer, tuple(addrs)


def _records(section: list[dns.rrset.RRset], kind: dns.rdatatype.RdataType) -> Iterator[tuple[dns.rrset.RRset, Any]]:
    """Yield the records of a kind. The top bit of the class tells caches to flush (RFC 6762 section 10.2)."""
    for entry in section:
        if entry.rdtype == kind and entry.rdclass & 0x7FFF == dns.rdataclass.IN:
            for record in entry:
                yield entry, record


def _response() -> dns.message.Message:
    message = dns.message.Message(id=0)
    message.flags = dns.flags.QR | dns.flags.AA
    return message


def _rrset(name: dns.name.Name, kind: str, ttl_seconds: int = 0, text: str | None = None) -> dns.rrset.RRset:
    if text is None:
        return dns.rrset.RRset(name, dns.rdataclass.IN, dns.rdatatype.from_text(kind))
    return dns.rrset.from_text(name, ttl_seconds, "IN", kind, text)
