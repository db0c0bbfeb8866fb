"""The vectors of docs/spec/circuit.md, read from the page itself, are what our codec makes and takes."""

import re
from pathlib import Path

from covey_core.identity import Identity
from covey_core.wire.circuit import (
    CircuitLimit,
    CircuitPeer,
    HopMessage,
    HopType,
    Status,
    StopMessage,
    StopType,
    Voucher,
    decode_hop,
    decode_stop,
    encode_hop,
    encode_stop,
    open_voucher,
    seal_voucher,
)

PAGE = (
    (Path(__file__).parents[2] / "docs" / "spec" / "circuit.md")
    .read_text(encoding="utf-8")
    .partition("## Test vectors")[2]
)
RELAY = Identity(bytes(32))
PEER = Identity(bytes([1]) * 32).peer_id
LIMIT = CircuitLimit(7200, 268_435_456)
UNTIL = 1_767_225_600

HOP = {
    "RESERVE": HopMessage(HopType.RESERVE),
    "CONNECT to the peer": HopMessage(HopType.CONNECT, peer=CircuitPeer(PEER)),
    "STATUS OK, limits": HopMessage(HopType.STATUS, limit=LIMIT, status=Status.OK),
    "NO_RESERVATION": HopMessage(HopType.STATUS, status=Status.NO_RESERVATION),
}
STOP = {
    "CONNECT from it": StopMessage(StopType.CONNECT, peer=CircuitPeer(PEER), limit=LIMIT),
    "STATUS OK": StopMessage(StopType.STATUS, status=Status.OK),
}


def test_the_pages_messages_are_ours() -> None:
    found = {
        kind: dict(re.findall(rf"^    {kind} +(\S.*?) +([0-9a-f]{{4,}})$", PAGE, re.MULTILINE))
        for kind in ("hop", "stop")
    }
    assert {name: bytes.fromhex(text) for name, text in found["hop"].items()} == {
        name: encode_hop(message) for name, message in HOP.items()
    }
    assert {name: bytes.fromhex(text) for name, text in found["stop"].items()} == {
        name: encode_stop(message) for name, message in STOP.items()
    }
    for name, message in HOP.items():
        assert decode_hop(bytes.fromhex(found["hop"][name])) == message
    for name, answer in STOP.items():
        assert decode_stop(bytes.fromhex(found["stop"][name])) == answer


def test_the_pages_voucher_is_ours() -> None:
    text = "".join(re.findall(r"^    ([0-9a-f]+)$", PAGE.partition("The voucher")[2], re.MULTILINE))
    assert bytes.fromhex(text) == seal_voucher(RELAY, peer=PEER, expires_at=UNTIL)
    assert open_voucher(bytes.fromhex(text), relay=RELAY.peer_id) == Voucher(RELAY.peer_id, PEER, UNTIL)
    assert RELAY.peer_id in PAGE
    assert PEER in PAGE
