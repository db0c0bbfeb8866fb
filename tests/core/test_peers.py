import base58
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey_core.errors import ProtocolViolation
from covey_core.peers import PeerId, peer_id_bytes, peer_id_from_bytes, peer_id_of, public_key_of, short

# libp2p specs, peer-ids/peer-ids.md, "Test vectors": an Ed25519 public key in its protobuf form.
SPEC_PUBLIC = bytes.fromhex("080112201ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e")


def test_the_specs_key_has_the_identity_multihash_of_its_protobuf():
    expected = base58.b58encode(b"\x00\x24" + SPEC_PUBLIC).decode()
    assert peer_id_of(SPEC_PUBLIC[4:]) == expected
    assert expected.startswith("12D3KooW")


def test_libp2p_itself_makes_the_same_peer_id():
    from libp2p.crypto.ed25519 import Ed25519PublicKey  # noqa: PLC0415 - slow to import
    from libp2p.peer.id import ID  # noqa: PLC0415

    assert ID.from_pubkey(Ed25519PublicKey.from_bytes(SPEC_PUBLIC[4:])).to_string() == peer_id_of(SPEC_PUBLIC[4:])


@given(st.binary(min_size=32, max_size=32))
def test_a_key_goes_into_a_peer_id_and_comes_out(key):
    peer = peer_id_of(key)
    assert public_key_of(peer) == key
    assert peer_id_from_bytes(peer_id_bytes(peer)) == peer
    assert peer.endswith(short(peer))


@given(st.one_of(st.text(max_size=80), st.binary(max_size=60).map(lambda raw: base58.b58encode(raw).decode())))
def test_any_text_is_a_peer_id_or_refused(text):
    try:
        raw = peer_id_bytes(PeerId(text))
    except ProtocolViolation:
        return
    assert peer_id_from_bytes(raw) == text


@given(st.binary(max_size=80))
def test_any_bytes_are_a_peer_id_or_refused(raw):
    try:
        peer = peer_id_from_bytes(raw)
    except ProtocolViolation:
        return
    assert peer_id_bytes(peer) == raw


@pytest.mark.parametrize("key", [b"", b"\0" * 31, b"\0" * 33])
def test_a_key_of_another_length_is_refused(key):
    with pytest.raises(ProtocolViolation):
        peer_id_of(key)


def test_a_foreign_rsa_peer_id_is_carried_but_holds_no_key():
    peer = PeerId(base58.b58encode(b"\x12\x20" + bytes(range(32))).decode())
    assert peer.startswith("Qm")
    assert len(peer_id_bytes(peer)) == 34
    with pytest.raises(ProtocolViolation):
        public_key_of(peer)


def test_another_key_of_32_bytes_is_no_ed25519_key():
    peer = PeerId(base58.b58encode(bytes.fromhex("002408021220") + bytes(32)).decode())
    with pytest.raises(ProtocolViolation):
        public_key_of(peer)


def test_white_space_around_a_peer_id_is_no_peer_id():
    with pytest.raises(ProtocolViolation):
        peer_id_bytes(PeerId(peer_id_of(bytes(32)) + " "))
