"""The first packets between two devices: set-up and ratchet packet inside a sealed envelope with the sender's names.

Owns: starting a session (`initiate`), opening an envelope (`unseal`) and accepting the session in it.
Spec: docs/spec/e2ee.md section 7. Never touches: storage; the caller keeps base key hashes against replay (7.3).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from covey_core.errors import ProtocolViolation
from covey_node.crypto.account import Device, same_key
from covey_node.crypto.bundle import NO_ONE_TIME, Bundle
from covey_node.crypto.devices import DeviceList, LocalDevice
from covey_node.crypto.errors import KeyRefused, Undecryptable
from covey_node.crypto.limits import RETENTION_SECONDS, ROTATION_SECONDS, SIGNED_AHEAD_SECONDS
from covey_node.crypto.pqxdh import Offer, Party, Target, agree_as_initiator, agree_as_responder
from covey_node.crypto.prekeys import Prekeys
from covey_node.crypto.primitives import KEM_CIPHERTEXT_BYTES, KEY_BYTES, KemPublic, Rng, x25519_public
from covey_node.crypto.ratchet import Ratchet
from covey_node.crypto.reader import Reader
from covey_node.crypto.session import (
    OUTER_PREFIX_BYTES,
    PacketKind,
    Session,
    Setup,
    first_contact_info,
    packet_kind,
)


def initiate(local: LocalDevice, bundle: Bundle, plaintext: bytes, rng: Rng, *, now: float) -> tuple[Session, bytes]:
    """Return a new session with the bundle's device and its first envelope.

    The caller has checked whose bundle it is (`Bundle.verify` with the account it expects). `PrekeysExpired` when the
    bundle is past its time; `ProtocolViolation` when it is our own device's.
    """
    bundle.verify(now=now, account=bundle.account)
    if same_key(bundle.ed25519, local.keys.ed25519):
        msg = "a device does not write to itself"
        raise ProtocolViolation(msg)
    one_time = bundle.one_time
    kem = KemPublic(bundle.last_resort if one_time is None else one_time.kem)
    kem_secret, kem_ciphertext = kem.encapsulate()
    base_secret = rng(KEY_BYTES)
    offer = Offer(
        initiator=Party(local.account, local.devices.find(local.keys.ed25519)),
        responder=Party(bundle.account, bundle.device),
        generation=bundle.generation,
        one_time_id=NO_ONE_TIME if one_time is None else one_time.id,
        base_key=x25519_public(base_secret),
        kem_ciphertext=kem_ciphertext,
    )
    agreed = agree_as_initiator(
        offer,
        Target(bundle.signed_prekey, None if one_time is None else one_time.x25519, kem.raw),
        identity=local.keys.x25519_secret,
        base_secret=base_secret,
        kem_secret=kem_secret,
    )
    session = Session(
        id=offer.base_key_hash,
        initiated=True,
        peer_account=bundle.account,
        peer_device=bundle.ed25519,
        associated_data=agreed.associated_data,
        ratchet=Ratchet.of_initiator(agreed, signed_prekey=bundle.signed_prekey, kem=kem),
        setup=Setup(bundle.seal_key, bundle.generation, _encode_offer(local, offer), bundle.expires_at),
    )
    return session.encrypt(plaintext, rng)


def _encode_offer(local: LocalDevice, offer: Offer) -> bytes:
    devices = local.devices.encode()
    return b"".join(
        (
            len(devices).to_bytes(2, "big"),
            devices,
            local.keys.ed25519,
            offer.one_time_id.to_bytes(4, "big"),
            offer.base_key,
            offer.kem_ciphertext,
        )
    )


@dataclass(frozen=True, slots=True)
class Accepted:
    """A session that the peer began, its first plaintext, and what to commit with both."""

    session: Session
    plaintext: bytes = field(repr=False)
    prekeys: Prekeys = field(repr=False)
    """Without the one-time pair that was used."""
    remember_until: int
    """Until then (Unix seconds) `session.id` is to be remembered, also when the session is gone: replays (6.3)."""


@dataclass(frozen=True, slots=True)
class FirstContact:
    """An opened envelope. Its list is signed by the account; that this device wrote it is proven by `accept`."""

    devices: DeviceList
    device: Device
    base_key_hash: bytes
    packet: bytes = field(repr=False)
    """The ratchet packet, for `Session.decrypt` of a session that is known by `base_key_hash`."""
    offer: Offer = field(repr=False)

    @property
    def account(self) -> bytes:
        """The sender's account key, 32 bytes."""
        return self.devices.account

    @property
    def one_time_id(self) -> int:
        """The one-time pair that the sender says to have used, 0 for none."""
        return self.offer.one_time_id

    def accept(self, local: LocalDevice, prekeys: Prekeys, *, now: float) -> Accepted:
        """Return the new session with its first plaintext.

        `Undecryptable` when the sender did not write it, or a prekey that it names is used up or deleted.

        Only for a `base_key_hash` that is neither a known session's nor a remembered one.
        """
        offer = self.offer
        generation = prekeys.generation(offer.generation)
        one_time = prekeys.one_time_pair(offer.one_time_id)
        if now >= generation.deleted_at:
            msg = f"prekey generation {generation.id} has had its time"
            raise Undecryptable(msg)
        kem = generation.last_resort if one_time is None else one_time.kem
        try:
            agreed = agree_as_responder(
                offer,
                identity=local.keys.x25519_secret,
                signed_prekey=generation.signed_prekey,
                one_time_prekey=None if one_time is None else one_time.x25519_secret,
                kem=kem,
            )
        except KeyRefused as exc:
            msg = "set-up with a key of low order"
            raise Undecryptable(msg) from exc
        fresh = Session(
            id=self.base_key_hash,
            initiated=False,
            peer_account=self.account,
            peer_device=self.device.ed25519,
            associated_data=agreed.associated_data,
            ratchet=Ratchet.of_responder(agreed, signed_prekey=generation.signed_prekey, kem=kem),
            setup=None,
        )
        session, plaintext = fresh.decrypt(self.packet, now=now)
        remember_until = generation.created_at + ROTATION_SECONDS + SIGNED_AHEAD_SECONDS + RETENTION_SECONDS
        return Accepted(session, plaintext, prekeys.without_one_time(offer.one_time_id), remember_until)


def unseal(local: LocalDevice, prekeys: Prekeys, envelope: bytes) -> FirstContact:
    """Open a first-contact envelope; `Undecryptable`. Costs about 0.3 ms: limit how often strangers may ask for it."""
    try:
        if packet_kind(envelope) is not PacketKind.FIRST_CONTACT:
            msg = "not a first-contact envelope"
            raise Undecryptable(msg)
        outer = envelope[:OUTER_PREFIX_BYTES]
        generation = prekeys.generation(int.from_bytes(outer[-4:], "big"))
        opened = generation.seal.open(envelope[OUTER_PREFIX_BYTES:], first_contact_info(outer))
        reader = Reader(opened)
        devices = DeviceList.decode(reader.take(reader.number(2)))
        device = devices.find(reader.take(KEY_BYTES))
        if same_key(device.ed25519, local.keys.ed25519):
            msg = "first contact from this very device"
            raise Undecryptable(msg)
        offer = Offer(
            initiator=Party(devices.account, device),
            responder=Party(local.account, local.devices.find(local.keys.ed25519)),
            generation=generation.id,
            one_time_id=reader.number(4),
            base_key=reader.take(KEY_BYTES),
            kem_ciphertext=reader.take(KEM_CIPHERTEXT_BYTES),
        )
        return FirstContact(devices, device, offer.base_key_hash, reader.rest(), offer)
    except ProtocolViolation as exc:
        msg = f"first contact is malformed: {exc}"
        raise Undecryptable(msg) from exc
