"""What a stranger's first datagram gets at a UDP socket: a version, a proof of its address to bring, or a handshake.

Owns: the tokens, and how many handshakes and useless first datagrams there are before strangers must bring one.
Spec: RFC 9000, 6 and 8.1; docs/spec/host.md. Never touches: the socket (it returns what to send), connections.
"""

import os
from collections import deque
from dataclasses import dataclass
from typing import Final

from aioquic.quic.packet import (
    QuicHeader,
    QuicProtocolVersion,
    encode_quic_retry,
    encode_quic_version_negotiation,
)
from aioquic.quic.retry import QuicRetryTokenHandler

from covey_core.host import limits
from covey_core.host.contained import Contained
from covey_core.host.quic_connection import Place


@dataclass(frozen=True, slots=True)
class Welcome:
    """A handshake may begin: under the connection id that the client chose first, and the one after a retry."""

    original: bytes
    retried: bytes | None


class QuicDoor:
    """The door of one socket. Callers pass the time, in seconds, and how many handshakes are under way."""

    def __init__(self) -> None:
        self._retry: Final = QuicRetryTokenHandler()
        self._wasted: deque[float] = deque(maxlen=limits.QUIC_UNVALIDATED_HANDSHAKES)

    def version_answer(self, header: QuicHeader) -> bytes:
        """Return the datagram that says which version we speak."""
        return encode_quic_version_negotiation(
            source_cid=header.destination_cid,
            destination_cid=header.source_cid,
            supported_versions=[QuicProtocolVersion.VERSION_1],
        )

    def knock(self, header: QuicHeader, place: Place, *, under_way: int, now: float) -> Welcome | bytes | None:
        """Return whether a handshake may begin, else the datagram that asks for a proof, or nothing."""
        original, retried = header.destination_cid, None
        if header.token:
            with Contained():
                original = self._retry.validate_token(
                    address=place, destination_cid=header.destination_cid, token=header.token, now=now
                )
                retried = header.destination_cid
        if retried is None and self._is_busy(under_way, now):
            return None if header.token else self._question(header, place, now)
        return Welcome(original, retried)

    def wasted(self, *, now: float) -> None:
        """A first datagram was taken in; until `made_sense`, for nothing."""
        self._wasted.append(now)

    def made_sense(self) -> None:
        """The last one that was taken in began a handshake."""
        self._wasted.pop()

    def _is_busy(self, under_way: int, now: float) -> bool:
        """Whether many handshakes are under way, or many first datagrams came in the last second that were none."""
        many = limits.QUIC_UNVALIDATED_HANDSHAKES
        since = now - limits.QUIC_WASTED_SECONDS
        return under_way >= many or (len(self._wasted) >= many and self._wasted[0] > since)

    def _question(self, header: QuicHeader, place: Place, now: float) -> bytes:
        """Have the client prove that it has its address, before anything is kept for it. RFC 9000, 8.1.2."""
        source_cid = os.urandom(limits.QUIC_CONNECTION_ID_BYTES)
        token = self._retry.create_token(
            address=place,
            original_destination_connection_id=header.destination_cid,
            retry_source_connection_id=source_cid,
            now=now,
        )
        return encode_quic_retry(
            version=QuicProtocolVersion.VERSION_1,
            source_cid=source_cid,
            destination_cid=header.source_cid,
            original_destination_cid=header.destination_cid,
            retry_token=token,
        )
