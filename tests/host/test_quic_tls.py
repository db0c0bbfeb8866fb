"""Certificates that carry PeerIds: the specification's vectors, our own, and each way of being wrong."""

import datetime as dt
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID

from covey_core.errors import ProtocolViolation
from covey_core.host import quic_tls
from covey_core.host.quic_tls import credentials, peer_of

# libp2p specs, tls/tls.md, "Test vectors"
ED25519 = (
    "308201ae30820156a0030201020204499602d2300a06082a8648ce3d040302302031123010060355040a13096c69627032702e696f310a300806"
    "035504051301313020170d3735303130313133303030305a180f34303936303130313133303030305a302031123010060355040a13096c696270"
    "32702e696f310a300806035504051301313059301306072a8648ce3d020106082a8648ce3d030107034200040c901d423c831ca85e27c73c263b"
    "a132721bb9d7a84c4f0380b2a6756fd601331c8870234dec878504c174144fa4b14b66a651691606d8173e55bd37e381569ea37c307a3078060a"
    "2b0601040183a25a0101046a3068042408011220a77f1d92fedb59dddaea5a1c4abd1ac2fbde7d7b879ed364501809923d7c11b90440d90d2769"
    "db992d5e6195dbb08e706b6651e024fda6cfb8846694a435519941cac215a8207792e42849cccc6cd8136c6e4bde92a58c5e08cfd4206eb5fe0b"
    "f909300a06082a8648ce3d0403020346003043021f50f6b6c52711a881778718238f650c9fb48943ae6ee6d28427dc6071ae55e702203625f116"
    "a7a454db9c56986c82a25682f7248ea1cb764d322ea983ed36a31b77"
)
ED25519_PEER = "12D3KooWM6CgA9iBFZmcYAHA6A2qvbAxqfkmrYiRQuz3XEsk4Ksv"
MISMATCHED = (
    "308201f73082019da0030201020204499602d2300a06082a8648ce3d040302302031123010060355040a13096c69627032702e696f310a300806"
    "035504051301313020170d3735303130313133303030305a180f34303936303130313133303030305a302031123010060355040a13096c696270"
    "32702e696f310a300806035504051301313059301306072a8648ce3d020106082a8648ce3d030107034200040c901d423c831ca85e27c73c263b"
    "a132721bb9d7a84c4f0380b2a6756fd601331c8870234dec878504c174144fa4b14b66a651691606d8173e55bd37e381569ea381c23081bf3081"
    "bc060a2b0601040183a25a01010481ad3081aa045f0803125b3059301306072a8648ce3d020106082a8648ce3d03010703420004bf30511f9094"
    "14ebdd3242178fd290f093a551cf75c973155de0bb5a96fedf6cb5d52da7563e794b512f66e60c7f55ba8a3acf3dd72a801980d205e8a1ad29f2"
    "04473045022100bb6e03577b7cc7a3cd1558df0da2b117dfdcc0399bc2504ebe7de6f65cade72802206de96e2a5be9b6202adba24ee0362e4906"
    "41ac45c240db71fe955f2c5cf8df6e300a06082a8648ce3d0403020348003045022100e847f267f43717358f850355bdcabbefb2cfbf8a3c043b"
    "203a14788a092fe8db022027c1d04a2d41fd6b57a7e8b3989e470325de4406e52e084e34a3fd56eef0d0df"
)


def _load(text: str) -> x509.Certificate:
    return x509.load_der_x509_certificate(bytes.fromhex(text))


def _certificate(
    *, host: Any = None, signer: Any = None, extensions: Any = None, **dates: dt.datetime
) -> x509.Certificate:
    host = host or create_new_key_pair()
    key = ec.generate_private_key(ec.SECP256R1())
    signature = host.private_key.sign(b"libp2p-tls-handshake:" + quic_tls._spki(key.public_key()))
    carried = x509.UnrecognizedExtension(
        quic_tls._EXTENSION, quic_tls._signed_key(host.public_key.serialize(), signature)
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(dates.get("begins", dt.datetime(2000, 1, 1, tzinfo=dt.UTC)))
        .not_valid_after(dates.get("ends", dt.datetime(2100, 1, 1, tzinfo=dt.UTC)))
    )
    for value, critical in [(carried, False)] if extensions is None else extensions:
        builder = builder.add_extension(value, critical=critical)
    return builder.sign(signer or key, hashes.SHA256())


def test_the_specifications_certificate_proves_its_peer() -> None:
    assert peer_of(_load(ED25519)).to_base58() == ED25519_PEER


def test_the_specifications_wrong_certificate_proves_nobody() -> None:
    with pytest.raises(ProtocolViolation):
        peer_of(_load(MISMATCHED))


def test_our_own_certificate_proves_our_peer_id_and_says_nothing_else() -> None:
    keys = create_new_key_pair()
    own = credentials(keys)
    assert peer_of(own.certificate) == ID.from_pubkey(keys.public_key)
    assert len(list(own.certificate.subject)) == 0
    assert own.certificate.public_key() == own.key.public_key()


@pytest.mark.parametrize(
    "certificate",
    [
        pytest.param(_certificate(ends=dt.datetime(2001, 1, 1, tzinfo=dt.UTC)), id="expired"),
        pytest.param(_certificate(begins=dt.datetime(2090, 1, 1, tzinfo=dt.UTC)), id="not yet valid"),
        pytest.param(_certificate(signer=ec.generate_private_key(ec.SECP256R1())), id="signed by another key"),
        pytest.param(_certificate(extensions=[]), id="without the extension"),
        pytest.param(
            _certificate(extensions=[(x509.UnrecognizedExtension(quic_tls._EXTENSION, b"\x30\x03\x04\x01"), False)]),
            id="cut off",
        ),
        pytest.param(None, id="none at all"),
    ],
)
def test_what_is_not_as_specified_proves_nobody(certificate: x509.Certificate | None) -> None:
    with pytest.raises(ProtocolViolation):
        peer_of(certificate)


def test_a_critical_extension_that_nobody_knows_is_refused_and_another_ignored() -> None:
    good = credentials(create_new_key_pair()).certificate.extensions[0].value
    strange = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    with pytest.raises(ProtocolViolation, match="critical"):
        peer_of(_certificate(extensions=[(strange, True), (good, False)]))
    with pytest.raises(ProtocolViolation):
        peer_of(_certificate(extensions=[(good, False)]))  # the extension of another certificate


def test_a_chain_is_refused() -> None:
    with pytest.raises(ProtocolViolation, match="chain"):
        peer_of(_load(ED25519), further=1)


def test_a_host_key_that_did_not_sign_is_refused() -> None:
    host = create_new_key_pair()
    other = create_new_key_pair()
    signature = other.private_key.sign(b"libp2p-tls-handshake:")
    carried = x509.UnrecognizedExtension(
        quic_tls._EXTENSION, quic_tls._signed_key(host.public_key.serialize(), signature)
    )
    with pytest.raises(ProtocolViolation):
        peer_of(_certificate(extensions=[(carried, False)]))


@given(st.binary(max_size=300))
def test_any_bytes_are_a_signed_key_or_are_refused(data: bytes) -> None:
    try:
        host_key, signature = quic_tls._read_signed_key(data)
    except ProtocolViolation:
        return
    assert len(host_key) + len(signature) < len(data)


@given(st.binary(max_size=400), st.binary(max_size=200))
def test_a_signed_key_is_read_as_it_was_written(host_key: bytes, signature: bytes) -> None:
    assert quic_tls._read_signed_key(quic_tls._signed_key(host_key, signature)) == (host_key, signature)
