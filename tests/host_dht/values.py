"""Values that the DHT's tests share: a numbered record with a toy validator, and peers at known places."""

from collections.abc import Sequence

from covey_core.errors import ProtocolViolation
from covey_core.host.kad_wire import KadPeer
from covey_core.peers import PeerId, peer_id_of


class NumberedValidator:
    """Accepts b"<number>:anything" with a number over 0; the highest number is the best."""

    def validate(self, key: bytes, value: bytes, *, now: float) -> None:
        del key, now
        number, colon, _ = value.partition(b":")
        if not colon or not number.isdigit() or int(number) < 1:
            raise ProtocolViolation("no numbered value")

    def select(self, values: Sequence[bytes]) -> int:
        numbers = [int(value.partition(b":")[0]) for value in values]
        return numbers.index(max(numbers))


class ExpiringValidator(NumberedValidator):
    """Accepts b"<number>:<unix time>" until that time."""

    def validate(self, key: bytes, value: bytes, *, now: float) -> None:
        super().validate(key, value, now=now)
        if float(value.partition(b":")[2]) <= now:
            raise ProtocolViolation("expired")


def peer_number(number: int) -> PeerId:
    return peer_id_of(number.to_bytes(32, "big"))


def kad_peer(number: int) -> KadPeer:
    peer = peer_number(number)
    return KadPeer(peer, (f"/ip4/10.0.{number // 250}.{number % 250 + 1}/tcp/4001/p2p/{peer}",))
