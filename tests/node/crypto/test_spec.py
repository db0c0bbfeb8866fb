"""A second reader, written from docs/spec/e2ee.md alone with pyca cryptography and hashlib, reads the vectors.

It shares no code with covey_node: where it disagrees, spec or code is wrong.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "e2ee_session.json").read_text(encoding="utf-8"))


class Cut:
    """Takes fixed-size fields from the front."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __call__(self, size: int) -> bytes:
        part, self.data = self.data[:size], self.data[size:]
        assert len(part) == size
        return part

    def number(self, size: int) -> int:
        return int.from_bytes(self(size), "big")


def raw(value: str) -> bytes:
    return bytes.fromhex(value)


def dh(private: bytes, public: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(public))


def x25519(private: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def b2(key: bytes, person: bytes, data: bytes) -> bytes:
    return hashlib.blake2b(data, key=key, person=person, digest_size=64).digest()


def root(root_key: bytes, secrets: bytes) -> tuple[bytes, bytes, bytes]:
    extracted = b2(root_key, b"covey root 1", secrets)
    first = b2(extracted, b"covey expand 1", b"\x01")
    return first[:32], first[32:], b2(extracted, b"covey expand 1", b"\x02")


def open_part(key: bytes, packet: bytes, part: bytes, bound: bytes) -> bytes:
    return ChaCha20Poly1305(key).decrypt(packet[3:15], part, bound)


def step(root_key: bytes, headers: bytes, packet: bytes, private: bytes, kem_seed: bytes) -> tuple[bytes, bytes]:
    """Section 8.4, point 2: return the new chain key and what the peer announced."""
    kem = MLKEM768PrivateKey.from_seed_bytes(kem_seed)
    announced = open_part(headers[32:], packet, packet[39:2359], packet[:15])
    parts = b"covey root context 1" + announced + x25519(private) + kem.public_key().public_bytes_raw()
    context = hashlib.sha256(parts).digest()
    _, chain_key, _ = root(root_key, dh(private, announced[:32]) + kem.decapsulate(announced[1_216:]) + context)
    return chain_key, announced


def read(headers: bytes, packet: bytes, chain_key: bytes, at: int, associated_data: bytes) -> bytes:
    """Sections 8.1 and 8.4, point 3, for a packet of a chain whose next number is `at`."""
    header = open_part(headers[:32], packet, packet[15:39], hashlib.sha256(packet[:15] + packet[39:]).digest())
    for _ in range(int.from_bytes(header[4:], "big") - at + 1):
        both = b2(chain_key, b"covey chain 1", b"")
        chain_key, message_key = both[:32], both[32:]
    padded = open_part(message_key, packet, packet[2359:], associated_data + packet[:15] + packet[39:2359] + header)
    size = int.from_bytes(padded[:4], "big")
    assert not any(padded[4 + size :])
    return padded[4 : 4 + size]


def test_a_reader_written_from_the_spec_opens_the_first_contact() -> None:
    bob, vector = VECTORS["responder"], VECTORS["first_contact"]
    store = Cut(raw(bob["prekeys"]))
    assert (store.number(1), store.number(2), store.number(2)) == (1, 1, 1)
    generation = store(4)
    assert (store.number(8), store.number(8)) == (VECTORS["now"], VECTORS["now"] + 7 * 86_400)
    signed_prekey, _, seal_seed = store(32), store(64), store(32)
    one_time_id, _, one_time, kem_seed = store(4), store(8), store(32), store(64)
    expanded = hashlib.shake_256(seal_seed).digest(96)
    seal_key = MLKEM768X25519PrivateKey(
        MLKEM768PrivateKey.from_seed_bytes(expanded[:64]), X25519PrivateKey.from_private_bytes(expanded[64:])
    )
    envelope = raw(vector["envelope"])
    assert len(envelope) == 16_384
    assert envelope[:7] == b"\x01\x01\x01" + generation
    suite = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
    content = Cut(suite.decrypt(envelope[7:], seal_key, b"covey first contact 1" + envelope[:7]))

    devices = content(content.number(2))
    assert devices.hex() == VECTORS["initiator"]["device_list"]
    label = b"covey device list 1"
    account = devices[1:33]
    Ed25519PublicKey.from_public_bytes(account).verify(devices[-64:], bytes([len(label)]) + label + devices[:-64])
    fields = Cut(devices[33:-64])
    assert fields.number(4) == 2
    fields(32 + 8)
    listed, revoked = fields.number(1), fields.number(1)
    assert (listed, revoked) == (2, 0)
    known = {fields(32): (fields(32), fields(8))[0] for _ in range(listed)}

    sender = content(32)
    assert content(4) == one_time_id
    base_key, ciphertext, packet = content(32), content(1_088), content.data
    keys = raw(bob["device_keys"])
    kem = MLKEM768PrivateKey.from_seed_bytes(kem_seed)
    parties = account + sender + known[sender] + raw(bob["account"]) + raw(bob["ed25519"]) + x25519(keys[33:])
    public = x25519(signed_prekey) + kem.public_key().public_bytes_raw() + x25519(one_time)
    associated_data = hashlib.sha256(b"covey associated data 1\x01\x01" + parties + public).digest()
    name = b"covey base key 1" + parties + generation + one_time_id + base_key + ciphertext
    base_key_hash = hashlib.sha256(name).digest()
    assert base_key_hash.hex() == vector["base_key_hash"]
    secrets = dh(signed_prekey, known[sender]) + dh(keys[33:], base_key)
    secrets += dh(signed_prekey, base_key) + dh(one_time, base_key) + kem.decapsulate(ciphertext)
    info = b"Covey_CURVE25519_SHA-512_ML-KEM-768" + associated_data + base_key_hash
    agreed = HKDF(hashes.SHA512(), 160, bytes(64), info).derive(b"\xff" * 32 + secrets)
    chain_key, _ = step(agreed[:32], agreed[32:96], packet, signed_prekey, kem_seed)
    assert read(agreed[32:96], packet, chain_key, 0, associated_data).hex() == vector["plaintext"]


def test_a_reader_written_from_the_spec_reads_from_a_stored_state() -> None:
    seen = set()
    for vector in VECTORS["reading"]:
        packet = raw(vector["packet"])
        associated_data, state = stored(raw(vector["state_before"]))
        if state["receiving"] is not None:
            chain_key, at, headers = state["receiving"]
            digest = hashlib.sha256(packet[:15] + packet[39:]).digest()
            try:
                header = open_part(headers[:32], packet, packet[15:39], digest)
            except InvalidTag:
                header = b""
            if header and int.from_bytes(header[4:], "big") >= at:
                assert read(headers, packet, chain_key, at, associated_data).hex() == vector["plaintext"]
                seen.add("chain")
                continue
            if header:
                seen.add("skipped")
                continue
        private, _, kem_seed = state["own"]
        chain_key, _ = step(state["root"], state["next"], packet, private, kem_seed)
        assert read(state["next"], packet, chain_key, 0, associated_data).hex() == vector["plaintext"]
        seen.add("step")
    assert seen == {"chain", "skipped", "step"}


def stored(data: bytes) -> tuple[bytes, dict[str, Any]]:
    """Section 8.7."""
    cut = Cut(data)
    cut(2 + 96)
    associated_data = cut(32)
    if cut.number(1):
        cut(1_216 + 4 + 8)
        cut(cut.number(2))
    state: dict[str, Any] = {"root": cut(32), "receiving": None, "own": None}
    cut(64)
    state["next"] = cut(64)
    cut(4)
    if cut.number(1):
        cut(32 + 1_184)
    else:
        state["own"] = (cut(32), cut(32), cut(64))
        cut(1_184)
    if cut.number(1):
        cut(32 + 4 + 64 + 2_304)
    if cut.number(1):
        state["receiving"] = (cut(32), cut.number(8), cut(64))
    for _ in range(cut.number(1)):
        cut(32)
        cut(44 * cut.number(2))
    assert cut.data == b""
    return associated_data, state
