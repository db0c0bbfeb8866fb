import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from covey_core import limits
from covey_core.errors import ProtocolViolation
from covey_core.identity import Identity
from covey_core.peers import peer_id_bytes
from covey_core.wire import voucher as vouchers
from covey_core.wire.envelope import open_envelope, seal_envelope
from covey_core.wire.pb import circuit_pb2, envelope_pb2
from covey_core.wire.voucher import Voucher, open_voucher, seal_voucher

RELAY = Identity(bytes(range(32)))
OTHER = Identity(bytes(range(1, 33)))
PEER = Identity(bytes(range(2, 34))).peer_id


def test_a_voucher_says_who_serves_whom_until_when():
    sealed = seal_voucher(RELAY, peer=PEER, expires_at=1_800_000_000)
    assert len(sealed) < limits.VOUCHER_MAX_BYTES
    assert open_voucher(sealed, relay=RELAY.peer_id) == Voucher(RELAY.peer_id, PEER, 1_800_000_000)


def test_the_signature_is_over_what_rfc_0002_says():
    envelope = envelope_pb2.Envelope.FromString(seal_voucher(RELAY, peer=PEER, expires_at=7))
    domain = b"libp2p-relay-rsvp"
    signed = bytes([17]) + domain + b"\x02\x03\x02" + bytes([len(envelope.payload)]) + envelope.payload
    assert len(domain) == 17
    assert (envelope.public_key.type, envelope.public_key.data) == (1, RELAY.public_key)
    Ed25519PublicKey.from_public_bytes(RELAY.public_key).verify(envelope.signature, signed)
    payload = b"\x0a\x26" + peer_id_bytes(RELAY.peer_id) + b"\x12\x26" + peer_id_bytes(PEER) + b"\x18\x07"
    assert envelope.payload == payload


def test_py_libp2ps_envelope_code_takes_ours():
    from libp2p.peer.envelope import unmarshal_envelope  # noqa: PLC0415 - slow to import

    foreign = unmarshal_envelope(seal_voucher(RELAY, peer=PEER, expires_at=7))
    foreign.validate("libp2p-relay-rsvp")
    assert foreign.payload_type == b"\x03\x02"


@given(st.binary(max_size=200))
def test_any_bytes_are_a_voucher_or_a_violation(data):
    with pytest.raises(ProtocolViolation):
        open_voucher(data, relay=RELAY.peer_id)


@given(st.data())
def test_every_changed_bit_is_noticed(data):
    sealed = bytearray(seal_voucher(RELAY, peer=PEER, expires_at=7))
    at = data.draw(st.integers(0, len(sealed) - 1))
    sealed[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(ProtocolViolation):
        open_voucher(bytes(sealed), relay=RELAY.peer_id)


def test_a_voucher_of_another_relay_is_refused():
    with pytest.raises(ProtocolViolation, match="did not sign"):
        open_voucher(seal_voucher(OTHER, peer=PEER, expires_at=7), relay=RELAY.peer_id)


def test_a_voucher_that_names_a_relay_which_did_not_sign_it_is_refused():
    payload = circuit_pb2.Voucher(
        relay=peer_id_bytes(RELAY.peer_id), peer=peer_id_bytes(PEER), expiration=7
    ).SerializeToString()
    forged = seal_envelope(OTHER, domain=vouchers.DOMAIN, payload_type=vouchers.PAYLOAD_TYPE, payload=payload)
    for relay in (RELAY, OTHER):
        with pytest.raises(ProtocolViolation, match="did not sign"):
            open_voucher(forged, relay=relay.peer_id)


@pytest.mark.parametrize(
    ("domain", "payload_type"), [("libp2p-peer-record", b"\x03\x02"), (vouchers.DOMAIN, b"\x03\x01")]
)
def test_an_envelope_for_another_purpose_is_no_voucher(domain, payload_type):
    payload = envelope_pb2.Envelope.FromString(seal_voucher(RELAY, peer=PEER, expires_at=7)).payload
    sealed = seal_envelope(RELAY, domain=domain, payload_type=payload_type, payload=payload)
    with pytest.raises(ProtocolViolation):
        open_voucher(sealed, relay=RELAY.peer_id)


def test_a_key_of_another_type_is_named():
    envelope = envelope_pb2.Envelope.FromString(seal_voucher(RELAY, peer=PEER, expires_at=7))
    envelope.public_key.type = 0
    with pytest.raises(ProtocolViolation, match="type 0, not Ed25519"):
        open_voucher(envelope.SerializeToString(), relay=RELAY.peer_id)


def test_an_envelope_over_its_limit_is_not_looked_at():
    sealed = seal_envelope(RELAY, domain="d", payload_type=b"t", payload=bytes(100))
    assert open_envelope(sealed, domain="d", payload_type=b"t", limit=len(sealed)) == (RELAY.peer_id, bytes(100))
    with pytest.raises(ProtocolViolation, match="over the limit"):
        open_envelope(sealed, domain="d", payload_type=b"t", limit=len(sealed) - 1)
