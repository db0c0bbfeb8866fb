"""What a packet looks like at one relay: its id and its seal there, which nobody can match with those at another.

Owns: the keys of a queue at one relay, `mid`, `blob`, and the seed of the key that signs deposits there. Spec:
docs/spec/mailbox.md, "Replicas". Never touches: streams, the clock, what a packet holds (session.py seals that).
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Final

import nacl.bindings as sodium
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from nacl.exceptions import CryptoError

from covey_core.errors import ProtocolViolation
from covey_core.limits import MAILBOX_BLOB_BYTES
from covey_core.wire import uvarint
from covey_core.wire.mailbox_bounds import MID_BYTES, QUEUE_ID_BYTES, RELAY_ID_MAX_BYTES, RELAY_ID_MIN_BYTES
from covey_node.crypto.account import same_key
from covey_node.crypto.errors import Undecryptable
from covey_node.crypto.primitives import KEY_BYTES, TAG_BYTES

LABEL_REPLICA: Final = b"covey mailbox 1 replica\x00"
LABEL_SEND_KEY: Final = b"covey mailbox 1 send key\x00"

PACKET_SIZES: Final = tuple(size - TAG_BYTES for size in MAILBOX_BLOB_BYTES)
"""Bytes of the packets that can be deposited: the buckets of docs/spec/e2ee.md."""

_NONCE_FILL: Final = bytes(8)  # XChaCha20's nonce has 24 bytes, a mid 16


def send_seed(secret: bytes, relay: bytes) -> bytes:
    """Return the Ed25519 seed (32 bytes) that signs deposits at one relay, the same for recipient and sender.

    `secret`: the queue set's, 32 bytes; `relay`: PeerId as multihash, 3 to 44 bytes. `ProtocolViolation` for others.
    """
    return _derived(secret, LABEL_SEND_KEY + _named(relay), KEY_BYTES)


@dataclass(frozen=True, slots=True, eq=False)
class ReplicaKeys:
    """The keys of one queue at one relay: an id key and a seal key of 32 bytes each, bound to its `send_id`."""

    send_id: bytes = field(repr=False)
    _id_key: bytes = field(repr=False)
    _seal_key: bytes = field(repr=False)

    @classmethod
    def derive(cls, secret: bytes, relay: bytes, send_id: bytes) -> ReplicaKeys:
        """Return the keys that a set's secret (32 bytes) gives for a queue (24) at a relay (multihash, 3 to 44).

        `ProtocolViolation` when one has another size.
        """
        if len(send_id) != QUEUE_ID_BYTES:
            raise ProtocolViolation(f"a sending id of {len(send_id)} bytes")
        both = _derived(secret, LABEL_REPLICA + _named(relay) + send_id, 2 * KEY_BYTES)
        return cls(send_id, both[:KEY_BYTES], both[KEY_BYTES:])

    def mid(self, packet: bytes) -> bytes:
        """Return the packet's id here, 16 bytes: the same each time, and random to who lacks the secret."""
        return self.mid_of(hashlib.sha256(packet).digest())

    def mid_of(self, packet_hash: bytes) -> bytes:
        """Return the same from the packet's SHA-256 (32 bytes)."""
        return hmac.digest(self._id_key, packet_hash, "sha256")[:MID_BYTES]

    def seal(self, packet: bytes) -> bytes:
        """Return the packet's blob here, 16 bytes longer; the same each time. `ProtocolViolation` for an odd size."""
        if len(packet) not in PACKET_SIZES:
            raise ProtocolViolation(f"a packet of {len(packet)} bytes, where one of {PACKET_SIZES} belongs")
        nonce = self.mid(packet) + _NONCE_FILL
        return sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(packet, self.send_id, nonce, self._seal_key)

    def open(self, mid: bytes, blob: bytes) -> bytes:
        """Return the packet; `Undecryptable` unless the blob is whole and this is its packet's one id here."""
        if len(mid) != MID_BYTES or len(blob) not in MAILBOX_BLOB_BYTES:
            raise Undecryptable(f"a deposited message of {len(blob)} bytes under an id of {len(mid)}")
        try:
            packet = sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(
                blob, self.send_id, mid + _NONCE_FILL, self._seal_key
            )
        except CryptoError as exc:
            raise Undecryptable("a deposited message does not authenticate") from exc
        if not same_key(self.mid(packet), mid):
            raise Undecryptable("a deposited message under an id that is not its packet's")
        return packet


def _named(relay: bytes) -> bytes:
    if not RELAY_ID_MIN_BYTES <= len(relay) <= RELAY_ID_MAX_BYTES:
        raise ProtocolViolation(f"a relay's PeerId of {len(relay)} bytes")
    return uvarint.encode(len(relay)) + relay


def _derived(secret: bytes, info: bytes, length: int) -> bytes:
    if len(secret) != KEY_BYTES:
        raise ProtocolViolation(f"a queue secret of {len(secret)} bytes")
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=info).derive(secret)
