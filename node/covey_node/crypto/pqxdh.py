"""PQXDH: two devices that never met agree on a secret, one of them offline.

Owns: the agreement for both roles, the associated data, and the base key hash by which a set-up is known again.
Spec: Signal, The PQXDH Key Agreement Protocol, revision 3, 3.2 to 3.4; docs/spec/e2ee.md section 6.
Never touches: envelopes, the ratchet.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from covey_node.crypto.account import Device
from covey_node.crypto.primitives import (
    LABEL_ASSOCIATED_DATA,
    LABEL_BASE_KEY,
    LABEL_SETUP,
    SUITE,
    VERSION,
    KemPair,
    hkdf_sha512,
    x25519_public,
    x25519_shared,
)

HEADER_KEYS_BYTES = 64
_SECRET_BYTES = 32 + 2 * HEADER_KEYS_BYTES


@dataclass(frozen=True, slots=True)
class Party:
    """One side of a set-up as both know it: account key (32 bytes) and device."""

    account: bytes
    device: Device

    def encode(self) -> bytes:
        """Return account, Ed25519 and X25519 key: 96 bytes."""
        return self.account + self.device.ed25519 + self.device.x25519


@dataclass(frozen=True, slots=True)
class Agreed:
    """What a set-up gives: root key (32 bytes), first header keys of each side (64 each), associated data (32)."""

    root_key: bytes = field(repr=False, compare=False)
    initiator_header_keys: bytes = field(repr=False, compare=False)
    responder_header_keys: bytes = field(repr=False, compare=False)
    associated_data: bytes


@dataclass(frozen=True, slots=True)
class Offer:
    """What an initiator sends of a set-up, and between whom it is."""

    initiator: Party
    responder: Party
    generation: int
    one_time_id: int  # 0: none
    base_key: bytes  # the initiator's ephemeral X25519 key, 32 bytes
    kem_ciphertext: bytes  # 1,088 bytes

    @property
    def base_key_hash(self) -> bytes:
        """The set-up's name on both sides, 32 bytes: the session id, and what is remembered against replay (6.3)."""
        parts = (
            LABEL_BASE_KEY,
            self.initiator.encode(),
            self.responder.encode(),
            self.generation.to_bytes(4, "big"),
            self.one_time_id.to_bytes(4, "big"),
            self.base_key,
            self.kem_ciphertext,
        )
        return hashlib.sha256(b"".join(parts)).digest()


@dataclass(frozen=True, slots=True)
class Target:
    """The responder's public prekeys that a set-up uses."""

    signed_prekey: bytes
    one_time_prekey: bytes | None
    kem: bytes


def agree_as_initiator(
    offer: Offer, target: Target, *, identity: bytes, base_secret: bytes, kem_secret: bytes
) -> Agreed:
    """Agree from the initiator's secrets; `KeyRefused` for low-order keys of the responder."""
    secrets = [
        x25519_shared(identity, target.signed_prekey),
        x25519_shared(base_secret, offer.responder.device.x25519),
        x25519_shared(base_secret, target.signed_prekey),
    ]
    if target.one_time_prekey is not None:
        secrets.append(x25519_shared(base_secret, target.one_time_prekey))
    return _derive(offer, target, [*secrets, kem_secret])


def agree_as_responder(
    offer: Offer, *, identity: bytes, signed_prekey: bytes, one_time_prekey: bytes | None, kem: KemPair
) -> Agreed:
    """Agree from the responder's secrets; `KeyRefused` for low-order keys of the initiator."""
    secrets = [
        x25519_shared(signed_prekey, offer.initiator.device.x25519),
        x25519_shared(identity, offer.base_key),
        x25519_shared(signed_prekey, offer.base_key),
    ]
    one_time_public = None
    if one_time_prekey is not None:
        secrets.append(x25519_shared(one_time_prekey, offer.base_key))
        one_time_public = x25519_public(one_time_prekey)
    target = Target(x25519_public(signed_prekey), one_time_public, kem.public)
    return _derive(offer, target, [*secrets, kem.decapsulate(offer.kem_ciphertext)])


def _derive(offer: Offer, target: Target, secrets: list[bytes]) -> Agreed:
    parts = (
        LABEL_ASSOCIATED_DATA,
        bytes((SUITE, VERSION)),
        offer.initiator.encode(),
        offer.responder.encode(),
        target.signed_prekey,
        target.kem,
        target.one_time_prekey or b"",
    )
    associated_data = hashlib.sha256(b"".join(parts)).digest()
    # The 32 bytes of 0xFF and the zero salt are PQXDH's (2.2). The info names every public value, so that one which was
    # changed on the way gives other keys and the packet inside does not open.
    out = hkdf_sha512(
        salt=bytes(64),
        secret=b"\xff" * 32 + b"".join(secrets),
        info=LABEL_SETUP + associated_data + offer.base_key_hash,
        length=_SECRET_BYTES,
    )
    return Agreed(
        root_key=out[:32],
        initiator_header_keys=out[32 : 32 + HEADER_KEYS_BYTES],
        responder_header_keys=out[32 + HEADER_KEYS_BYTES :],
        associated_data=associated_data,
    )
