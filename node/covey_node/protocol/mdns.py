"""Multicast DNS as libp2p uses it: who asks for peers, who answers, and with which addresses.

Owns: what questions and answers mean. Spec: libp2p specs, discovery/mdns.md; RFC 6762, RFC 6763; docs/spec/mdns.md.
Never touches: bytes (dns_wire.py), sockets, who is believed (neighbours.py), when to ask (net/lan.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from covey_core.errors import ProtocolViolation
from covey_core.peers import PeerId
from covey_node import limits
from covey_node.protocol import dns_wire
from covey_node.protocol.addresses import Direct, parse
from covey_node.protocol.dns_wire import Kind, Message, Name, Record, name_of

_META: Final = name_of("_services._dns-sd._udp.local")
_HOSTS: Final = name_of("p2p.local")
_PREFIX: Final = b"dnsaddr="
_TEXT_BYTES: Final = 255  # RFC 6763 section 6.1: one length byte
_MARKS: Final = (b"p2p", b"_dns-sd")  # one of them stands, uncompressed, in whatever concerns us

ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz0123456789"
"""What peer names are made of."""


@dataclass(frozen=True, slots=True)
class Service:
    """What peers of a network ask for, and our name there: random, new at each start."""

    name: Name
    instance: Name
    host: Name


@dataclass(frozen=True, slots=True)
class Found:
    """What one peer says of itself; `ttl_seconds` 0: it goes. `addrs` end in /p2p/<peer>."""

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
    name = name_of(f"_p2p-{network}._udp.local" if network else "_p2p._udp.local")
    label = peer_name.encode("ascii")
    return Service(name, (label, *name), (label, *_HOSTS))


def query(of: Service) -> bytes:
    """Return a packet that asks for all peers."""
    return dns_wire.encode(Message(is_response=False, questions=(of.name,)))


def answer(of: Service, addrs: Iterable[str], ips: Iterable[str], *, ttl_seconds: int) -> bytes:
    """Return a packet that says where we are; with `ttl_seconds` 0: that we go.

    `addrs` end in /p2p/<us>; those that do not fit into a TXT string or the packet are left out. All are strings of
    one TXT record: go-libp2p reads the last record only. It also leaves out peers without a host: SRV, A, AAAA.
    """
    texts: list[bytes] = []
    room = limits.MDNS_TEXT_BYTES
    for addr in addrs:
        text = _PREFIX + addr.encode("ascii")
        if len(text) <= min(_TEXT_BYTES, room):
            texts.append(text)
            room -= len(text)
    hosts = (Record(of.host, Kind.AAAA if ":" in ip else Kind.A, ttl_seconds, ip=ip) for ip in ips)
    return dns_wire.encode(
        Message(
            is_response=True,
            answers=(Record(of.name, Kind.PTR, ttl_seconds, target=of.instance),),
            additionals=(
                Record(of.instance, Kind.TXT, ttl_seconds, texts=tuple(texts)),
                Record(of.instance, Kind.SRV, ttl_seconds, target=of.host),
                *hosts,
            ),
        )
    )


def services_answer(of: Service, *, ttl_seconds: int) -> bytes:
    """Return a packet that says, to who lists the services of this network, that ours is there."""
    return dns_wire.encode(Message(is_response=True, answers=(Record(_META, Kind.PTR, ttl_seconds, target=of.name),)))


def may_concern(packet: bytes) -> bool:
    """Whether a packet is worth `decode`; most of those on a network are not."""
    lowered = packet.lower()
    return any(mark in lowered for mark in _MARKS) and dns_wire.is_small(packet)


def decode(packet: bytes, of: Service) -> Heard | None:
    """Return what a packet says to us, None when it is about something else; ProtocolViolation when it is damaged."""
    if not may_concern(packet):
        return None
    message = dns_wire.decode(packet)
    return _answers(message, of) if message.is_response else _questions(message, of)


def _questions(message: Message, of: Service) -> Heard | None:
    asked = set(message.questions)
    knows_us = any(
        (record.name, record.target) == (of.name, of.instance) and record.ttl_seconds >= limits.MDNS_TTL_SECONDS / 2
        for record in message.answers
    )
    asks = bool(asked & {of.instance, of.host}) or (of.name in asked and not knows_us)
    return Heard(asks=asks, asks_for_services=_META in asked) if asks or _META in asked else None


def _answers(message: Message, of: Service) -> Heard | None:
    named = {
        record.target: record.ttl_seconds
        for record in message.answers
        if record.kind == Kind.PTR and record.name == of.name and record.target != of.instance
    }
    texts: dict[Name, list[bytes]] = {name: [] for name in named}
    for record in (*message.additionals, *message.answers):  # the specification's place, and js-libp2p's
        if record.kind == Kind.TXT and record.name in texts:
            texts[record.name].extend(record.texts)
    found = []
    for name, ttl_seconds in list(named.items())[: limits.MDNS_PEERS_PER_PACKET]:
        peer, addrs = _addrs(texts[name])
        if peer is not None:
            found.append(Found(peer, addrs, ttl_seconds))
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
