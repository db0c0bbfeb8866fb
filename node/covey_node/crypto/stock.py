"""What lies in stock at a contact queue, sealed so that its relay cannot tell whose it is; and the right to take it.

Owns: the seal of bundles and one-time pairs at a relay, the secret that an invite's token gives there. Spec:
docs/spec/first-contact.md, "Stock", "Token". Never touches: streams, the clock, which pairs are where.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import nacl.bindings as sodium
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from nacl.exceptions import CryptoError

from covey_core.errors import ProtocolViolation
from covey_core.limits import MAILBOX_BUNDLE_BYTES
from covey_core.wire import uvarint
from covey_core.wire.mailbox_bounds import QUEUE_ID_BYTES, RELAY_ID_MAX_BYTES, RELAY_ID_MIN_BYTES
from covey_node.crypto.bundle import Bundle, OneTimePrekey
from covey_node.crypto.primitives import KEY_BYTES, TAG_BYTES, Rng

LABEL_STOCK: Final = b"covey mailbox 1 stock\x00"
LABEL_TOKEN: Final = b"covey mailbox 1 invite token\x00"

_NONCE_BYTES: Final = 24  # XChaCha20's
_OVERHEAD_BYTES: Final = _NONCE_BYTES + TAG_BYTES
_BUNDLE_SIZES: Final = (MAILBOX_BUNDLE_BYTES // 2, MAILBOX_BUNDLE_BYTES)
_BUNDLE: Final = b"\x01"
_ONE_TIME: Final = b"\x02"


def admission_secret(token: bytes, relay: bytes) -> bytes:
    """Return what the holder of an invite's token (16 bytes) shows at one relay (PeerId as multihash): 32 bytes.

    Of no use at another relay, and no way back to the token.
    """
    _check_relay(relay)
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=LABEL_TOKEN + relay).derive(token)


@dataclass(frozen=True, slots=True, eq=False)
class StockKeys:
    """The key under which one contact queue's stock is sealed, bound to its `send_id`."""

    send_id: bytes = field(repr=False)
    _key: bytes = field(repr=False)

    @classmethod
    def derive(cls, secret: bytes, relay: bytes, send_id: bytes) -> StockKeys:
        """Return the key for a queue (id of 24 bytes) of the set with this secret (32) at a relay (multihash).

        `ProtocolViolation` when one has another size.
        """
        _check_relay(relay)
        if len(secret) != KEY_BYTES or len(send_id) != QUEUE_ID_BYTES:
            raise ProtocolViolation(f"a queue secret of {len(secret)} bytes, a sending id of {len(send_id)}")
        info = LABEL_STOCK + uvarint.encode(len(relay)) + relay + send_id
        return cls(send_id, HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(secret))

    def seal_bundle(self, bundle: Bundle, rng: Rng) -> bytes:
        """Return the bundle, which has no one-time pair, as it is stocked: 4,096 or 8,192 bytes."""
        plain = bundle.encode()
        for size in _BUNDLE_SIZES:
            room = size - _OVERHEAD_BYTES - len(plain)
            if room > 0:
                return self._seal(_BUNDLE, plain + b"\x80" + bytes(room - 1), rng)
        raise ProtocolViolation(f"a bundle of {len(plain)} bytes is too large to be stocked")

    def open_bundle(self, stocked: bytes) -> Bundle:
        """Return the bundle, its signatures and keys verified (whose it is: `Bundle.verify`); `ProtocolViolation`."""
        padded = self._open(_BUNDLE, stocked)
        plain = padded.rstrip(b"\x00")
        if not plain.endswith(b"\x80"):
            raise ProtocolViolation("a stocked bundle without the end of its padding")
        return Bundle.decode(plain[:-1])

    def seal_pair(self, pair: OneTimePrekey, rng: Rng) -> bytes:
        """Return a one-time pair as it is stocked: 1,324 bytes."""
        return self._seal(_ONE_TIME, pair.encode(), rng)

    def open_pair(self, stocked: bytes) -> OneTimePrekey:
        """Return the pair, unverified: `Bundle.with_one_time` verifies. `ProtocolViolation`."""
        return OneTimePrekey.decode(self._open(_ONE_TIME, stocked))

    def _seal(self, kind: bytes, plain: bytes, rng: Rng) -> bytes:
        nonce = rng(_NONCE_BYTES)
        return nonce + sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(plain, self.send_id + kind, nonce, self._key)

    def _open(self, kind: bytes, stocked: bytes) -> bytes:
        nonce, sealed = stocked[:_NONCE_BYTES], stocked[_NONCE_BYTES:]
        if len(sealed) < TAG_BYTES:
            raise ProtocolViolation(f"a stocked key of {len(stocked)} bytes")
        try:
            return sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(sealed, self.send_id + kind, nonce, self._key)
        except CryptoError as exc:
            raise ProtocolViolation("a stocked key does not authenticate") from exc


def _check_relay(relay: bytes) -> None:
    if not RELAY_ID_MIN_BYTES <= len(relay) <= RELAY_ID_MAX_BYTES:
        raise ProtocolViolation(f"a relay's PeerId of {len(relay)} bytes")
