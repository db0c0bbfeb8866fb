"""A session of two devices: texts in, padded packets out, and back; its stored form.

Owns: `Session`, padding to buckets, the packet prefix. Until an answer was read, an initiator's packets are wrapped as
first contacts. Spec: docs/spec/e2ee.md sections 2, 7 and 8. Never touches: storage, the clock, sockets.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from covey_core.errors import ProtocolViolation
from covey_node.crypto.errors import KeyRefused, PlaintextTooLarge, StateDamaged, Undecryptable
from covey_node.crypto.limits import BUCKETS_BYTES
from covey_node.crypto.primitives import KEY_BYTES, LABEL_FIRST_CONTACT, SUITE, VERSION, Rng
from covey_node.crypto.ratchet import PREFIX_BYTES, RATCHET_OVERHEAD_BYTES, Ratchet
from covey_node.crypto.ratchet_state import read_ratchet, write_ratchet
from covey_node.crypto.reader import Reader
from covey_node.crypto.seal import SEAL_OVERHEAD_BYTES, SEAL_PUBLIC_BYTES, seal_to

LENGTH_BYTES: Final = 4
PACKET_OVERHEAD_BYTES: Final = RATCHET_OVERHEAD_BYTES + LENGTH_BYTES
MAX_PLAINTEXT_BYTES: Final = BUCKETS_BYTES[-1] - PACKET_OVERHEAD_BYTES
OUTER_PREFIX_BYTES: Final = PREFIX_BYTES + 4


class PacketKind(IntEnum):
    """The third byte of a packet."""

    FIRST_CONTACT = 1
    ESTABLISHED = 2


_ESTABLISHED: Final = bytes((SUITE, VERSION, PacketKind.ESTABLISHED))
_FIRST_CONTACT: Final = bytes((SUITE, VERSION, PacketKind.FIRST_CONTACT))


def packet_kind(packet: bytes) -> PacketKind:
    """Return what a packet is; `ProtocolViolation` for another size, suite, version or kind."""
    if len(packet) not in BUCKETS_BYTES:
        msg = f"packet of {len(packet)} bytes is no bucket"
        raise ProtocolViolation(msg)
    if packet[:PREFIX_BYTES] == _ESTABLISHED:
        return PacketKind.ESTABLISHED
    if packet[:PREFIX_BYTES] == _FIRST_CONTACT:
        return PacketKind.FIRST_CONTACT
    msg = f"packet of suite {packet[0]}, version {packet[1]}, kind {packet[2]} is not known"
    raise ProtocolViolation(msg)


@dataclass(frozen=True, slots=True)
class Setup:
    """What an initiator puts before its packets until it is answered: `offer` goes inside the seal, unchanged."""

    seal_key: bytes
    generation: int
    offer: bytes
    expires_at: int

    @property
    def overhead_bytes(self) -> int:
        """How much a first-contact envelope adds to the packet inside."""
        return OUTER_PREFIX_BYTES + SEAL_OVERHEAD_BYTES + len(self.offer)

    def wrap(self, packet: bytes) -> bytes:
        """Return the first-contact envelope around a packet."""
        outer = _FIRST_CONTACT + self.generation.to_bytes(4, "big")
        return outer + seal_to(self.seal_key, self.offer + packet, first_contact_info(outer))


def first_contact_info(outer: bytes) -> bytes:
    """Return HPKE's `info` for an envelope that starts with these 7 bytes."""
    return LABEL_FIRST_CONTACT + outer


@dataclass(frozen=True, slots=True)
class Session:
    """One session with one device of a peer. Immutable: keep the new one, never use the old one again.

    `id`: 32 bytes, the base key hash, the same on both sides. `peer_device` is the peer's Ed25519 key.
    """

    id: bytes
    initiated: bool
    peer_account: bytes
    peer_device: bytes
    associated_data: bytes = field(repr=False)
    ratchet: Ratchet = field(repr=False)
    setup: Setup | None = field(repr=False)

    @property
    def awaits_reply(self) -> bool:
        """Whether packets are still first-contact envelopes because no answer was read."""
        return self.setup is not None

    @property
    def setup_expires_at(self) -> int | None:
        """When an unanswered set-up can no longer be opened by the peer (Unix seconds); start a new one then."""
        return None if self.setup is None else self.setup.expires_at

    @property
    def max_plaintext_bytes(self) -> int:
        """How much the next packet can carry: less while packets are first-contact envelopes."""
        return MAX_PLAINTEXT_BYTES - (0 if self.setup is None else self.setup.overhead_bytes)

    @property
    def sent_in_chain(self) -> int:
        """How many packets were written since the peer's last step; a receiver follows a gap of 2,000 at most."""
        return 0 if self.ratchet.sending is None else self.ratchet.sending.count

    def encrypt(self, plaintext: bytes, rng: Rng) -> tuple[Session, bytes]:
        """Return the advanced session and a packet of 4,096, 16,384 or 65,536 bytes; `PlaintextTooLarge`."""
        setup = self.setup
        overhead = PACKET_OVERHEAD_BYTES if setup is None else PACKET_OVERHEAD_BYTES + setup.overhead_bytes
        size = len(plaintext)
        if size > self.max_plaintext_bytes:
            raise PlaintextTooLarge(size=size, limit=self.max_plaintext_bytes)
        padding = next(bucket for bucket in BUCKETS_BYTES if size + overhead <= bucket) - size - overhead
        padded = size.to_bytes(LENGTH_BYTES, "big") + plaintext + bytes(padding)
        ratchet, packet = self.ratchet.encrypt(_ESTABLISHED, padded, self.associated_data, rng)
        return self._with(ratchet, setup), packet if setup is None else setup.wrap(packet)

    def decrypt(self, packet: bytes, *, now: float) -> tuple[Session, bytes]:
        """Return the advanced session and the plaintext of an established packet, or of one unsealed.

        `Undecryptable`: drop the packet, this session stands unchanged.
        """
        if packet[:PREFIX_BYTES] != _ESTABLISHED:
            msg = "not a session's packet"
            raise Undecryptable(msg)
        try:
            ratchet, padded = self.ratchet.decrypt(packet, self.associated_data, now=now)
        except KeyRefused as exc:
            msg = "peer announced a key that is not one"
            raise Undecryptable(msg) from exc
        size = int.from_bytes(padded[:LENGTH_BYTES], "big")
        if len(padded) < LENGTH_BYTES + size:
            msg = "padding does not fit"
            raise Undecryptable(msg)
        return self._with(ratchet, None), padded[LENGTH_BYTES : LENGTH_BYTES + size]

    def aged(self, *, now: float) -> Session:
        """Return the session without skipped keys that have had their time; `self` when there are none."""
        skipped = self.ratchet.skipped.aged(now=now)
        return self if skipped is self.ratchet.skipped else self._with(self.ratchet.keeping(skipped), self.setup)

    def _with(self, ratchet: Ratchet, setup: Setup | None) -> Session:
        return Session(
            self.id, self.initiated, self.peer_account, self.peer_device, self.associated_data, ratchet, setup
        )

    def encode(self) -> bytes:
        """Return the secret stored form (8.7), 1.6 to 6.7 KB, 44 bytes more a skipped key."""
        parts = [bytes((VERSION, self.initiated)), self.id, self.peer_account, self.peer_device, self.associated_data]
        if self.setup is None:
            parts.append(b"\x00")
        else:
            setup = self.setup
            parts += [b"\x01", setup.seal_key, setup.generation.to_bytes(4, "big"), setup.expires_at.to_bytes(8, "big")]
            parts += [len(setup.offer).to_bytes(2, "big"), setup.offer]
        parts.append(write_ratchet(self.ratchet))
        return b"".join(parts)

    @classmethod
    def decode(cls, data: bytes) -> Session:
        """Reverse `encode`; `StateDamaged`."""
        reader = Reader(data, StateDamaged)
        reader.expect(VERSION, "session version")
        initiated = reader.flag()
        names = [reader.take(KEY_BYTES) for _ in range(4)]
        setup = None
        if reader.flag():
            seal_key, generation, expires_at = reader.take(SEAL_PUBLIC_BYTES), reader.number(4), reader.number(8)
            setup = Setup(seal_key, generation, reader.take(reader.number(2)), expires_at)
        ratchet = read_ratchet(reader)
        reader.end()
        return cls(names[0], initiated, names[1], names[2], names[3], ratchet, setup)


def preferred(sending: Session, received: Session) -> Session:
    """Return which of two sessions with one device to send on from now; the other stays for receiving (7.4).

    `sending` was used until now, on `received` a packet has just been opened. The peer's choice is followed, except
    while `sending` is a set-up of ours without an answer: then an older session does not win, and when both sides wrote
    first, the smaller id does, so that both choose alike.
    """
    if not sending.awaits_reply:
        return received
    return (
        received
        if not received.initiated and not received.ratchet.has_written and received.id < sending.id
        else sending
    )
