"""A packet at several relays: the vectors, a second reader written from the spec, and what must not open."""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
from itertools import combinations
from pathlib import Path
from typing import Any

import nacl.bindings as sodium
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from covey_core.errors import ProtocolViolation
from covey_core.peers import PeerId, peer_id_bytes
from covey_node.crypto.errors import Undecryptable
from covey_node.crypto.primitives import ed25519_public
from covey_node.crypto.replica import PACKET_SIZES, ReplicaKeys, send_seed

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "mailbox_replica.json").read_text(encoding="utf-8")
)
SECRET = bytes.fromhex(VECTORS["secret"])
REPLICAS = VECTORS["replicas"]


def raw(value: str) -> bytes:
    return bytes.fromhex(value)


def packet_of(vector: dict[str, Any]) -> bytes:
    """A packet of the vectors: that many bytes of SHAKE-256 of its seed."""
    return hashlib.shake_256(raw(vector["shake_256_of"])).digest(vector["size"])


def keys_of(replica: dict[str, Any]) -> ReplicaKeys:
    return ReplicaKeys.derive(SECRET, peer_id_bytes(PeerId(replica["relay"])), raw(replica["send_id"]))


@pytest.mark.parametrize("replica", REPLICAS, ids=lambda one: one["relay"][-6:])
def test_keys_ids_and_blobs_come_out_as_they_once_did(replica: dict[str, Any]) -> None:
    relay = peer_id_bytes(PeerId(replica["relay"]))
    assert send_seed(SECRET, relay).hex() == replica["send_seed"]
    assert ed25519_public(send_seed(SECRET, relay)).hex() == replica["send_key"]
    keys = keys_of(replica)
    for vector, told in zip(VECTORS["packets"], replica["deposits"], strict=True):
        packet = packet_of(vector)
        assert keys.mid(packet).hex() == told["mid"]
        blob = keys.seal(packet)
        assert len(blob) == len(packet) + 16
        assert blob[:32].hex() == told["blob_begins"]
        assert hashlib.sha256(blob).hexdigest() == told["blob_sha256"]
        assert keys.open(raw(told["mid"]), blob) == packet


# --- a second reader, from docs/spec/mailbox.md and draft-irtf-cfrg-xchacha-03 alone ----------------------------------


def hchacha20(key: bytes, nonce: bytes) -> bytes:
    """Section 2.2 of the draft: the ChaCha20 rounds without the last addition, first and last rows of the state."""
    state = list(struct.unpack("<16I", b"expand 32-byte k" + key + nonce))

    def turn(word: int, by: int) -> int:
        return (word << by | word >> (32 - by)) & 0xFFFFFFFF

    def quarter(a: int, b: int, c: int, d: int) -> None:
        for one, two, three, by in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            state[one] = (state[one] + state[two]) & 0xFFFFFFFF
            state[three] = turn(state[three] ^ state[one], by)

    for _ in range(10):
        for at in range(4):
            quarter(at, 4 + at, 8 + at, 12 + at)
        for at in range(4):
            quarter(at, 4 + (at + 1) % 4, 8 + (at + 2) % 4, 12 + (at + 3) % 4)
    return struct.pack("<8I", *state[:4], *state[12:])


def test_the_second_reader_has_the_drafts_hchacha20() -> None:
    found = hchacha20(bytes(range(32)), raw("000000090000004a0000000031415927"))  # draft-irtf-cfrg-xchacha-03, 2.2.1
    assert found.hex() == "82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc"


@pytest.mark.parametrize("replica", REPLICAS, ids=lambda one: one["relay"][-6:])
def test_a_reader_written_from_the_spec_opens_the_blobs(replica: dict[str, Any]) -> None:
    relay, send_id = peer_id_bytes(PeerId(replica["relay"])), raw(replica["send_id"])
    info = b"covey mailbox 1 replica\0" + bytes([len(relay)]) + relay + send_id
    both = HKDF(hashes.SHA256(), 64, b"", info).derive(SECRET)
    seed = HKDF(hashes.SHA256(), 32, b"", b"covey mailbox 1 send key\0" + bytes([len(relay)]) + relay).derive(SECRET)
    assert seed.hex() == replica["send_seed"]
    for vector, told in zip(VECTORS["packets"], replica["deposits"], strict=True):
        packet, mid = packet_of(vector), raw(told["mid"])
        assert hmac.digest(both[:32], hashlib.sha256(packet).digest(), "sha256")[:16] == mid
        blob = keys_of(replica).seal(packet)
        nonce = mid + bytes(8)
        inner = ChaCha20Poly1305(hchacha20(both[32:], nonce[:16]))
        assert inner.decrypt(bytes(4) + nonce[16:], blob, send_id) == packet


# --- what must not be -------------------------------------------------------------------------------------------------


def test_no_two_replicas_of_a_packet_share_an_id_a_key_or_a_stretch_of_the_blob() -> None:
    packet = packet_of(VECTORS["packets"][0])
    deposits = [(one["send_key"], keys_of(one).mid(packet), keys_of(one).seal(packet)) for one in REPLICAS]
    for (key, mid, blob), (other_key, other_mid, other_blob) in combinations(deposits, 2):
        assert key != other_key
        assert mid != other_mid
        stretches = {blob[at : at + 8] for at in range(len(blob) - 7)}
        assert not any(other_blob[at : at + 8] in stretches for at in range(len(blob) - 7))


def test_the_queue_the_relay_and_the_secret_each_change_every_key() -> None:
    packet, relay, other_relay = bytes(4096), b"\x00\x01a", b"\x00\x01b"
    first = ReplicaKeys.derive(bytes(32), relay, bytes(24))
    for keys in (
        ReplicaKeys.derive(bytes(31) + b"\1", relay, bytes(24)),
        ReplicaKeys.derive(bytes(32), other_relay, bytes(24)),
        ReplicaKeys.derive(bytes(32), relay, bytes(23) + b"\1"),
    ):
        assert keys.mid(packet) != first.mid(packet)
        with pytest.raises(Undecryptable):
            keys.open(first.mid(packet), first.seal(packet))
    assert len({send_seed(bytes(32), relay), send_seed(bytes(32), other_relay), send_seed(b"\1" * 32, relay)}) == 3


@given(st.integers(0, 4096 + 15), st.integers(0, 7))
def test_one_flipped_bit_anywhere_and_nothing_opens(at: int, bit: int) -> None:
    keys = keys_of(REPLICAS[0])
    packet = bytes(4096)
    mid, blob = keys.mid(packet), keys.seal(packet)
    broken = bytearray(blob)
    broken[at] ^= 1 << bit
    with pytest.raises(Undecryptable):
        keys.open(mid, bytes(broken))
    if at < 16:
        other = bytearray(mid)
        other[at] ^= 1 << bit
        with pytest.raises(Undecryptable):
            keys.open(bytes(other), blob)


def test_a_packet_sealed_under_an_id_of_the_writers_choice_does_not_open() -> None:
    # A contact knows the keys and could deposit one packet under many ids; each would be shown to be a new message.
    keys, packet, chosen = keys_of(REPLICAS[0]), bytes(4096), b"chosen by sender"
    seal_key = keys._seal_key
    blob = sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(packet, keys.send_id, chosen + bytes(8), seal_key)
    with pytest.raises(Undecryptable, match="not its packet's"):
        keys.open(chosen, blob)


@given(st.binary(max_size=20), st.binary(max_size=64) | st.just(bytes(4112)))
def test_any_bytes_are_undecryptable(mid: bytes, blob: bytes) -> None:
    with pytest.raises(Undecryptable):
        keys_of(REPLICAS[0]).open(mid, blob)


@pytest.mark.parametrize("size", [0, 1, 4095, 4097, 4112, 65537])
def test_only_the_three_sizes_of_packets_are_sealed(size: int) -> None:
    assert PACKET_SIZES == (4096, 16384, 65536)
    with pytest.raises(ProtocolViolation):
        keys_of(REPLICAS[0]).seal(bytes(size))


def test_secrets_ids_and_names_of_other_sizes_are_refused() -> None:
    for secret, relay, send_id in (
        (bytes(31), b"\0\1a", bytes(24)), (bytes(32), b"", bytes(24)), (bytes(32), bytes(45), bytes(24)),
        (bytes(32), b"\0\1a", bytes(23)),
    ):  # fmt: skip
        with pytest.raises(ProtocolViolation):
            ReplicaKeys.derive(secret, relay, send_id)
    with pytest.raises(ProtocolViolation):
        send_seed(bytes(33), b"\0\1a")


def test_no_key_is_shown() -> None:
    keys = keys_of(REPLICAS[0])
    assert repr(keys) == "ReplicaKeys()"
    assert SECRET.hex() not in repr(keys)
