"""The Double Ratchet with header encryption, and an ML-KEM-768 encapsulation with every Diffie-Hellman step.

Owns: root, chains, header keys and ratchet keys of one session; sealing and opening a packet's three parts.
Spec: Signal, The Double Ratchet Algorithm, revision 4, section 4 (header encryption), deferred step of 6.5;
docs/spec/e2ee.md section 8. Never touches: padding, envelopes, set-up, the clock.

A packet is prefix (3) | nonce (12) | header (24) | ratchet part (2,320) | body. The header binds a hash of everything
else, so a packet altered anywhere costs its receiver that hash and at most seven 8-byte openings, never a key step.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from covey_node.crypto.chains import OwnKeys, PeerKeys, ReceivingChain, SendingChain
from covey_node.crypto.errors import MessageKeyGone, SkippedTooFar, Undecryptable
from covey_node.crypto.limits import MAX_SKIP_MESSAGES
from covey_node.crypto.pqxdh import Agreed
from covey_node.crypto.primitives import (
    KEM_CIPHERTEXT_BYTES,
    KEM_PUBLIC_BYTES,
    KEY_BYTES,
    LABEL_ROOT_CONTEXT,
    NONCE_BYTES,
    TAG_BYTES,
    KemPair,
    KemPublic,
    Rng,
    chain_step,
    open_sealed,
    root_step,
    seal,
    settle_registers,
    x25519_public,
    x25519_shared,
)
from covey_node.crypto.skipped import SkippedKeys

PREFIX_BYTES: Final = 3
_NONCE_END: Final = PREFIX_BYTES + NONCE_BYTES
_HEADER_END: Final = _NONCE_END + 8 + TAG_BYTES
_RATCHET_PLAIN_BYTES: Final = KEY_BYTES + KEM_PUBLIC_BYTES + KEM_CIPHERTEXT_BYTES
_RATCHET_END: Final = _HEADER_END + _RATCHET_PLAIN_BYTES + TAG_BYTES
RATCHET_OVERHEAD_BYTES: Final = _RATCHET_END + TAG_BYTES
MAX_CHAIN_MESSAGES: Final = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Ratchet:
    """A session's ratchet. `keys` says whose step is next: ours with the peer's keys in hand, theirs with ours."""

    root_key: bytes = field(repr=False, compare=False)
    keys: OwnKeys | PeerKeys
    sending: SendingChain | None
    next_sending_headers: bytes = field(repr=False, compare=False)
    previous_count: int
    receiving: ReceivingChain | None
    next_receiving_headers: bytes = field(repr=False, compare=False)
    skipped: SkippedKeys

    @classmethod
    def of_initiator(cls, agreed: Agreed, *, signed_prekey: bytes, kem: KemPublic) -> Ratchet:
        """Start as the initiator: the responder's prekeys are its first ratchet keys."""
        return cls(
            root_key=agreed.root_key,
            keys=PeerKeys(signed_prekey, kem),
            sending=None,
            next_sending_headers=agreed.initiator_header_keys,
            previous_count=0,
            receiving=None,
            next_receiving_headers=agreed.responder_header_keys,
            skipped=SkippedKeys(),
        )

    @classmethod
    def of_responder(cls, agreed: Agreed, *, signed_prekey: bytes, kem: KemPair) -> Ratchet:
        """Start as the responder: it can write only after the first packet was opened."""
        return cls(
            root_key=agreed.root_key,
            keys=OwnKeys(signed_prekey, x25519_public(signed_prekey), kem),
            sending=None,
            next_sending_headers=agreed.responder_header_keys,
            previous_count=0,
            receiving=None,
            next_receiving_headers=agreed.initiator_header_keys,
            skipped=SkippedKeys(),
        )

    @property
    def has_written(self) -> bool:
        """Whether a packet was ever written."""
        return self.sending is not None or self.previous_count > 0

    def encrypt(self, prefix: bytes, plaintext: bytes, associated_data: bytes, rng: Rng) -> tuple[Ratchet, bytes]:
        """Return the advanced ratchet and a packet `RATCHET_OVERHEAD_BYTES` longer than the plaintext."""
        here = self._stepped_to_send(rng) if isinstance(self.keys, PeerKeys) else self
        chain = here.sending
        if chain is None or chain.count >= MAX_CHAIN_MESSAGES:
            msg = "this session cannot write: it awaits its first packet, or its chain is at its end"
            raise Undecryptable(msg)
        next_key, message_key = chain_step(chain.chain_key)
        start = prefix + rng(NONCE_BYTES)
        nonce = start[PREFIX_BYTES:]
        header = here.previous_count.to_bytes(4, "big") + chain.count.to_bytes(4, "big")
        header_keys = chain.header_keys
        part = ChaCha20Poly1305(header_keys[32:]).encrypt(nonce, chain.announced, start)
        sealed = part + seal(message_key, nonce, plaintext, b"".join((associated_data, start, part, header)))
        digest = hashlib.sha256(start)
        digest.update(sealed)
        packet = start + ChaCha20Poly1305(header_keys[:32]).encrypt(nonce, header, digest.digest()) + sealed
        settle_registers()
        advanced = SendingChain(next_key, chain.count + 1, header_keys, chain.announced)
        return (
            Ratchet(
                here.root_key,
                here.keys,
                advanced,
                here.next_sending_headers,
                here.previous_count,
                here.receiving,
                here.next_receiving_headers,
                here.skipped,
            ),
            packet,
        )

    def _stepped_to_send(self, rng: Rng) -> Ratchet:
        """Take our step: new keys of ours against the peer's newest (8.3)."""
        peer = self.keys
        assert isinstance(peer, PeerKeys)  # noqa: S101 - narrowed by the caller
        secret, kem = rng(KEY_BYTES), KemPair.generate(rng)
        own = OwnKeys(secret, x25519_public(secret), kem)
        kem_secret, ciphertext = peer.kem.encapsulate()
        announced = own.x25519 + kem.public + ciphertext
        agreed = x25519_shared(secret, peer.x25519) + kem_secret
        agreed += root_context(announced, peer.x25519, peer.kem.raw)
        root_key, chain_key, next_headers = root_step(self.root_key, agreed)
        return Ratchet(
            root_key=root_key,
            keys=own,
            sending=SendingChain(chain_key, 0, self.next_sending_headers, announced),
            next_sending_headers=next_headers,
            previous_count=self.previous_count,
            receiving=self.receiving,
            next_receiving_headers=self.next_receiving_headers,
            skipped=self.skipped,
        )

    def decrypt(self, packet: bytes, associated_data: bytes, *, now: float) -> tuple[Ratchet, bytes]:
        """Return the advanced ratchet and the plaintext; `Undecryptable` in microseconds when it is not for us."""
        if len(packet) < RATCHET_OVERHEAD_BYTES:
            msg = f"packet of {len(packet)} bytes is too short"
            raise Undecryptable(msg)
        opened = self._open_header(packet)
        settle_registers()
        if opened is None:
            msg = "packet does not open under any header key"
            raise Undecryptable(msg)
        header_keys, header = opened
        number = int.from_bytes(header[4:], "big")
        bound = b"".join((associated_data, packet[:_NONCE_END], packet[_HEADER_END:_RATCHET_END], header))
        receiving = self.receiving
        if header_keys is self.next_receiving_headers:
            stepped = self._stepped_to_receive(packet, int.from_bytes(header[:4], "big"), now)
            return stepped._open_in_chain(packet, bound, number, now)  # noqa: SLF001 - of this very class
        if receiving is not None and header_keys is receiving.header_keys and number >= receiving.count:
            return self._open_in_chain(packet, bound, number, now)
        return self._open_skipped(packet, bound, header_keys[:KEY_BYTES], number, now)

    def _open_header(self, packet: bytes) -> tuple[bytes, bytes] | None:
        """Return (the header keys that fit, the 8-byte header), trying the likeliest keys first."""
        nonce, header = packet[PREFIX_BYTES:_NONCE_END], packet[_NONCE_END:_HEADER_END]
        digest = hashlib.sha256(packet[:_NONCE_END])
        digest.update(memoryview(packet)[_HEADER_END:])
        bound = digest.digest()
        candidates = [self.next_receiving_headers]
        current = b""
        if self.receiving is not None:
            candidates.insert(0, self.receiving.header_keys)
            current = self.receiving.header_keys[:KEY_BYTES]
        candidates += [chain.header_key for chain in self.skipped.chains if chain.header_key != current]
        for keys in candidates:
            try:
                return keys, ChaCha20Poly1305(keys[:KEY_BYTES]).decrypt(nonce, header, bound)
            except InvalidTag:
                continue
        return None

    def _open_skipped(
        self, packet: bytes, bound: bytes, header_key: bytes, number: int, now: float
    ) -> tuple[Ratchet, bytes]:
        entry = next((c.keys.get(number) for c in self.skipped.chains if c.header_key == header_key), None)
        if entry is None or entry[0] <= now:
            msg = f"message key {number} of its chain was used or is gone"
            raise MessageKeyGone(msg)
        plaintext = open_sealed(entry[1], packet[PREFIX_BYTES:_NONCE_END], packet[_RATCHET_END:], bound)
        skipped = self.skipped.without(header_key, number).aged(now=now)
        return self._with(self.receiving, skipped), plaintext

    def _open_in_chain(self, packet: bytes, bound: bytes, number: int, now: float) -> tuple[Ratchet, bytes]:
        chain = self.receiving
        assert chain is not None  # noqa: S101 - narrowed by the callers
        ahead = number - chain.count
        if ahead > MAX_SKIP_MESSAGES:
            raise SkippedTooFar(ahead=ahead, limit=MAX_SKIP_MESSAGES)
        chain_key, missed = _advanced(chain.chain_key, ahead)
        chain_key, message_key = chain_step(chain_key)
        plaintext = open_sealed(message_key, packet[PREFIX_BYTES:_NONCE_END], packet[_RATCHET_END:], bound)
        settle_registers()
        skipped = self.skipped
        if missed or skipped.chains:
            skipped = skipped.adding(chain.header_keys[:KEY_BYTES], chain.count, missed, now=now).aged(now=now)
        return self._with(ReceivingChain(chain_key, number + 1, chain.header_keys), skipped), plaintext

    def _stepped_to_receive(self, packet: bytes, previous_count: int, now: float) -> Ratchet:
        """Take the peer's step: its new keys against ours, which are then gone (8.4)."""
        own = self.keys
        if not isinstance(own, OwnKeys):
            msg = "peer stepped twice without an answer of ours"
            raise Undecryptable(msg)
        skipped = self.skipped
        if self.receiving is not None:
            # What the old chain still owes is kept up to the limit; a longer loss must not end the session.
            owed = min(max(previous_count - self.receiving.count, 0), MAX_SKIP_MESSAGES)
            _, missed = _advanced(self.receiving.chain_key, owed)
            skipped = skipped.adding(
                self.receiving.header_keys[:KEY_BYTES], self.receiving.count, missed, now=now
            ).aged(now=now)
        headers = self.next_receiving_headers
        nonce = packet[PREFIX_BYTES:_NONCE_END]
        announced = open_sealed(headers[KEY_BYTES:], nonce, packet[_HEADER_END:_RATCHET_END], packet[:_NONCE_END])
        settle_registers()
        peer = PeerKeys(announced[:KEY_BYTES], KemPublic(announced[KEY_BYTES : KEY_BYTES + KEM_PUBLIC_BYTES]))
        kem_secret = own.kem.decapsulate(announced[KEY_BYTES + KEM_PUBLIC_BYTES :])
        agreed = x25519_shared(own.x25519_secret, peer.x25519) + kem_secret
        agreed += root_context(announced, own.x25519, own.kem.public)
        root_key, chain_key, next_headers = root_step(self.root_key, agreed)
        return Ratchet(
            root_key=root_key,
            keys=peer,
            sending=None,  # its number of packets is all that is still needed of it
            next_sending_headers=self.next_sending_headers,
            previous_count=self.previous_count if self.sending is None else self.sending.count,
            receiving=ReceivingChain(chain_key, 0, headers),
            next_receiving_headers=next_headers,
            skipped=skipped.retiring(headers[:KEY_BYTES]),
        )

    def keeping(self, skipped: SkippedKeys) -> Ratchet:
        """Return the ratchet with these skipped keys."""
        return self._with(self.receiving, skipped)

    def _with(self, receiving: ReceivingChain | None, skipped: SkippedKeys) -> Ratchet:
        return Ratchet(
            self.root_key,
            self.keys,
            self.sending,
            self.next_sending_headers,
            self.previous_count,
            receiving,
            self.next_receiving_headers,
            skipped,
        )


def root_context(announced: bytes, x25519: bytes, kem: bytes) -> bytes:
    """Return the hash that ties a step to all its public values: what the stepping side announced, to whose keys."""
    return hashlib.sha256(b"".join((LABEL_ROOT_CONTEXT, announced, x25519, kem))).digest()


def _advanced(chain_key: bytes, count: int) -> tuple[bytes, list[bytes]]:
    """Return the chain key `count` messages on, and the message keys passed."""
    passed = []
    for _ in range(count):
        chain_key, message_key = chain_step(chain_key)
        passed.append(message_key)
    return chain_key, passed
