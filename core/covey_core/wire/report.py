"""How hole punches ended, as a node reports it to a relay: numbers of each kind, and nothing else.

Owns: PunchReport as a value, and what its fields may be. Spec: docs/spec/report.md. Never touches: streams, who reports
when (the node), who counts (the relay).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar

from google.protobuf.message import DecodeError

from covey_core import limits
from covey_core.errors import FrameTooLarge, ProtocolViolation
from covey_core.wire.pb import report_pb2 as pb

REPORT_NAME: Final = "report"
"""The protocol's name: `network.protocol(REPORT_NAME)` is its id."""

_Label = TypeVar("_Label", bound=StrEnum)


class PunchOutcome(StrEnum):
    """How a hole punch ended; `direct`: a plain dial came through before it. One that was cancelled is not told."""

    SUCCESS = "success"
    FAILED = "failed"
    DIRECT = "direct"


class PunchTransport(StrEnum):
    """What carries the connection that a punch made (METRICS: `transport`); `other` where it made none."""

    TCP = "tcp"
    QUIC = "quic"
    WS = "ws"
    OTHER = "other"


class NatPair(StrEnum):
    """The NATs of both sides (METRICS: `nat_pair`)."""

    NONE = "none"
    EASY_EASY = "easy_easy"
    EASY_HARD = "easy_hard"
    HARD_HARD = "hard_hard"
    UNKNOWN = "unknown"


_OUTCOMES: Final = {1: PunchOutcome.SUCCESS, 2: PunchOutcome.FAILED, 3: PunchOutcome.DIRECT}
_TRANSPORTS: Final = {1: PunchTransport.TCP, 2: PunchTransport.QUIC, 3: PunchTransport.WS, 4: PunchTransport.OTHER}
_NAT_PAIRS: Final = {
    1: NatPair.NONE,
    2: NatPair.EASY_EASY,
    3: NatPair.EASY_HARD,
    4: NatPair.HARD_HARD,
    5: NatPair.UNKNOWN,
}


@dataclass(frozen=True, slots=True)
class PunchKind:
    """What is told of one punch."""

    outcome: PunchOutcome
    transport: PunchTransport
    nat_pair: NatPair


PunchReport = Mapping[PunchKind, int]
"""How many punches of each kind: 1 to 64 in all."""


def encode_report(report: PunchReport) -> bytes:
    """Return the protobuf form (no length before it), in one order; `ProtocolViolation` for what may not be told."""
    _check(report)
    counts = [
        pb.PunchCount(
            outcome=_number(_OUTCOMES, kind.outcome),
            transport=_number(_TRANSPORTS, kind.transport),
            nat_pair=_number(_NAT_PAIRS, kind.nat_pair),
            count=count,
        )
        for kind, count in report.items()
    ]
    counts.sort(key=lambda one: (one.outcome, one.transport, one.nat_pair))
    return pb.PunchReport(counts=counts).SerializeToString(deterministic=True)


def decode_report(data: bytes) -> dict[PunchKind, int]:
    """Return the report in `data`; `ProtocolViolation` when it is none, names a kind that does not exist or is empty.

    Raises `FrameTooLarge` over 1,024 bytes.
    """
    if len(data) > limits.REPORT_MESSAGE_BYTES:
        raise FrameTooLarge(size=len(data), limit=limits.REPORT_MESSAGE_BYTES)
    found = pb.PunchReport()
    try:
        found.ParseFromString(data)
    except DecodeError as exc:
        raise ProtocolViolation("these bytes are no punch report") from exc
    report: dict[PunchKind, int] = {}
    for one in found.counts:
        kind = PunchKind(
            _named(_OUTCOMES, one.outcome), _named(_TRANSPORTS, one.transport), _named(_NAT_PAIRS, one.nat_pair)
        )
        if kind in report:
            raise ProtocolViolation("a punch report that counts a kind twice")
        report[kind] = one.count
    _check(report)
    return report


def _check(report: PunchReport) -> None:
    total = sum(report.values())
    if not 0 < total <= limits.REPORT_PUNCHES or min(report.values()) < 1:
        raise ProtocolViolation(f"a report of {total} punches; 1 to {limits.REPORT_PUNCHES} of at least one each")


def _named(names: Mapping[int, _Label], number: int) -> _Label:
    try:
        return names[number]
    except KeyError:
        raise ProtocolViolation(f"a punch report with the unknown value {number}") from None


def _number(names: Mapping[int, _Label], value: _Label) -> int:
    return next(number for number, name in names.items() if name is value)
