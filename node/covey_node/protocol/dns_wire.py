"""DNS messages, as far as multicast DNS for peers needs them.

Owns: names, questions and records on the wire, and what reading them may cost. Spec: RFC 1035 section 4; RFC 3596;
RFC 2782; RFC 6763 section 6. Never touches: what the records mean (mdns.py), sockets.
Own code because a hostile packet of 32 records cost a general library 110 ms: docs/adr/0055-portmap-and-mdns.md.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import ip_address
from typing import Final

from covey_core.errors import ProtocolViolation
from covey_node import limits

Name = tuple[bytes, ...]
"""Labels in lower case, the leftmost first; the root is empty."""

_HEADER: Final = struct.Struct("!HHHHHH")
_QUESTION: Final = struct.Struct("!HH")
_RECORD: Final = struct.Struct("!HHIH")
_SRV: Final = struct.Struct("!HHH")
_RESPONSE: Final = 0x8400  # QR and AA
_IS_RESPONSE: Final = 0x8000
_CLASS_IN: Final = 1
_CLASS_MASK: Final = 0x7FFF  # the top bit tells caches to flush, or asks for unicast: RFC 6762 sections 5.4, 10.2
_POINTER: Final = 0xC0
_LABEL_BYTES: Final = 63
_NAME_BYTES: Final = 255
_STEPS: Final = 160  # labels and pointers of one name: at most 127 labels fit into one


class Kind(IntEnum):
    """Types of records."""

    A = 1
    PTR = 12
    TXT = 16
    AAAA = 28
    SRV = 33
    ANY = 255


@dataclass(frozen=True, slots=True)
class Record:
    """A record: `target` of PTR and SRV, `texts` of TXT, `ip` of A and AAAA; of other types only name and TTL."""

    name: Name
    kind: int
    ttl_seconds: int
    target: Name = ()
    texts: tuple[bytes, ...] = ()
    ip: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """A message; records of sections that nobody needs are passed over."""

    is_response: bool
    questions: tuple[Name, ...] = ()
    answers: tuple[Record, ...] = ()
    additionals: tuple[Record, ...] = ()


def name_of(text: str) -> Name:
    """Return the name of a text such as `_p2p._udp.local`."""
    return tuple(label.lower() for label in text.encode("ascii").split(b"."))


def encode(message: Message) -> bytes:
    """Return the packet; names are not compressed. What a name or text cannot be is the caller's mistake."""
    head = _HEADER.pack(
        0,
        _RESPONSE if message.is_response else 0,
        len(message.questions),
        len(message.answers),
        0,
        len(message.additionals),
    )
    questions = (_packed_name(name) + _QUESTION.pack(Kind.PTR, _CLASS_IN) for name in message.questions)
    records = (_packed_record(record) for record in (*message.answers, *message.additionals))
    return head + b"".join(questions) + b"".join(records)


def is_small(packet: bytes) -> bool:
    """Whether a packet names few enough records to be read."""
    return len(packet) >= _HEADER.size and sum(_HEADER.unpack_from(packet)[2:]) <= limits.MDNS_RECORDS_PER_PACKET


def decode(packet: bytes) -> Message:
    """Return what a packet holds; ProtocolViolation when it is damaged or holds more than a peer has to say."""
    if not is_small(packet):
        raise ProtocolViolation("a DNS message without a header, or with too many records")
    _, flags, questions, answers, authorities, additionals = _HEADER.unpack_from(packet)
    reader = _Reader(packet, _HEADER.size)
    try:
        return Message(
            bool(flags & _IS_RESPONSE),
            tuple(reader.question() for _ in range(questions)),
            _of_internet(reader.record() for _ in range(answers)),
            _of_internet([reader.record() for _ in range(authorities + additionals)][authorities:]),
        )
    except (struct.error, IndexError) as exc:
        raise ProtocolViolation("a DNS message that ends early") from exc


def _of_internet(records: Iterable[Record | None]) -> tuple[Record, ...]:
    return tuple(record for record in records if record is not None)


class _Reader:
    """Reads one packet from front to back. Names that were read are kept, so that pointers to them cost nothing."""

    def __init__(self, packet: bytes, at: int) -> None:
        self._packet = packet
        self._at = at
        self._names: dict[int, Name] = {}

    def question(self) -> Name:
        name, self._at = self._name(self._at)
        _QUESTION.unpack_from(self._packet, self._at)
        self._at += _QUESTION.size
        return name

    def record(self) -> Record | None:
        name, at = self._name(self._at)
        kind, record_class, ttl, size = _RECORD.unpack_from(self._packet, at)
        at += _RECORD.size
        self._at = at + size
        if self._at > len(self._packet):
            raise ProtocolViolation("a DNS record that ends early")
        if record_class & _CLASS_MASK != _CLASS_IN:
            return None
        match kind:
            case Kind.PTR:
                return Record(name, kind, ttl, target=self._name(at)[0])
            case Kind.SRV:
                return Record(name, kind, ttl, target=self._name(at + _SRV.size)[0])
            case Kind.TXT:
                return Record(name, kind, ttl, texts=_texts(self._packet[at : self._at]))
            case Kind.A | Kind.AAAA:
                data = self._packet[at : self._at]
                if len(data) != (4 if kind == Kind.A else 16):
                    raise ProtocolViolation(f"an address of {len(data)} bytes")
                return Record(name, kind, ttl, ip=str(ip_address(data)))
        return Record(name, kind, ttl)

    def _name(self, start: int) -> tuple[Name, int]:
        """Return the name at an offset, and the offset behind it. Pointers lead only backwards: no circles."""
        labels: list[bytes] = []
        at, after, lowest = start, 0, start
        for _ in range(_STEPS):
            size = self._packet[at]
            if size & _POINTER == _POINTER:
                target = (size & ~_POINTER) << 8 | self._packet[at + 1]
                after = after or at + 2
                if target >= lowest:
                    raise ProtocolViolation("a DNS name that points forwards")
                if target in self._names:
                    labels.extend(self._names[target])
                    break
                at = lowest = target
            elif size > _LABEL_BYTES:
                raise ProtocolViolation("a DNS label of an unknown kind")
            elif size == 0:
                after = after or at + 1
                break
            else:
                labels.append(self._packet[at + 1 : at + 1 + size].lower())
                at += 1 + size
        else:
            raise ProtocolViolation("a DNS name of too many parts")
        if sum(len(label) + 1 for label in labels) >= _NAME_BYTES:
            raise ProtocolViolation("a DNS name that is too long")
        name = tuple(labels)
        self._names[start] = name
        return name, after


def _texts(data: bytes) -> tuple[bytes, ...]:
    texts, at = [], 0
    while at < len(data):
        size = data[at]
        if at + 1 + size > len(data):
            raise ProtocolViolation("a DNS text that ends early")
        texts.append(data[at + 1 : at + 1 + size])
        at += 1 + size
    return tuple(texts)


def _packed_name(name: Name) -> bytes:
    return b"".join(bytes([len(label)]) + label for label in name) + b"\0"


def _packed_record(record: Record) -> bytes:
    match record.kind:
        case Kind.PTR:
            data = _packed_name(record.target)
        case Kind.SRV:
            data = _SRV.pack(0, 0, limits.MDNS_SRV_PORT) + _packed_name(record.target)
        case Kind.TXT:
            data = b"".join(bytes([len(text)]) + text for text in record.texts) or b"\0"
        case _:
            data = ip_address(record.ip).packed
    head = _RECORD.pack(record.kind, _CLASS_IN, record.ttl_seconds, len(data))
    return _packed_name(record.name) + head + data
