"""Who is at the other end of a QUIC connection: the certificate that carries a PeerId, made and verified.

Owns: our certificate, what of a peer's is checked, and aioquic's configuration. Spec: libp2p specs, tls/tls.md and
quic/README.md; RFC 5280; docs/spec/host.md. Never touches: packets, sockets.
"""

import datetime as dt
import ssl
from dataclasses import dataclass, field
from typing import Any, Final

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.packet import QuicProtocolVersion
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from libp2p.crypto.keys import KeyPair
from libp2p.crypto.serialization import deserialize_public_key
from libp2p.peer.id import ID

from covey_core.errors import ProtocolViolation
from covey_core.host import limits
from covey_core.host.contained import Contained

ALPN: Final = "libp2p"
_EXTENSION: Final = x509.ObjectIdentifier("1.3.6.1.4.1.53594.1.1")
_SIGNED_PREFIX: Final = b"libp2p-tls-handshake:"
# Validity that no wrong clock, ours or the peer's, can fall out of; the dates of the specification's test vectors.
_NOT_BEFORE: Final = dt.datetime(1975, 1, 1, tzinfo=dt.UTC)
_NOT_AFTER: Final = dt.datetime(4096, 1, 1, tzinfo=dt.UTC)
_SEQUENCE: Final = 0x30
_OCTET_STRING: Final = 0x04
_LONG_FORM: Final = 0x80


@dataclass(frozen=True, slots=True)
class Credentials:
    """A certificate of this process, signed by its host key, and the certificate's own key (ECDSA P-256)."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)


def credentials(keys: KeyPair) -> Credentials:
    """Make a certificate for a host key; one serves all connections of a run."""
    key = ec.generate_private_key(ec.SECP256R1())
    host_key = keys.public_key.serialize()
    signature = keys.private_key.sign(_SIGNED_PREFIX + _spki(key.public_key()))
    name = x509.Name([])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_NOT_BEFORE)
        .not_valid_after(_NOT_AFTER)
        .add_extension(x509.UnrecognizedExtension(_EXTENSION, _signed_key(host_key, signature)), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Credentials(certificate, key)


def configuration(own: Credentials, *, is_client: bool) -> QuicConfiguration:
    """Return aioquic's configuration of one connection: QUIC version 1, ALPN "libp2p", our certificate, our windows."""
    return QuicConfiguration(
        alpn_protocols=[ALPN],
        is_client=is_client,
        certificate=own.certificate,
        private_key=own.key,
        verify_mode=ssl.CERT_NONE,  # no authority signs PeerIds: `peer_of` verifies
        idle_timeout=limits.QUIC_IDLE_SECONDS,
        max_data=limits.QUIC_FIRST_CONNECTION_WINDOW_BYTES,
        max_stream_data=limits.QUIC_FIRST_STREAM_WINDOW_BYTES,
        connection_id_length=limits.QUIC_CONNECTION_ID_BYTES,
        supported_versions=[QuicProtocolVersion.VERSION_1],
    )


def peer_of(certificate: x509.Certificate | None, *, further: int = 0, now: dt.datetime | None = None) -> ID:
    """Return the PeerId that a peer's certificate proves; `ProtocolViolation` when it proves none.

    `further` is the number of certificates that came beside it: none may. The handshake has proven already that the
    peer holds the certificate's key; that the host key vouches for that key is checked here.
    """
    if certificate is None:
        raise ProtocolViolation("a peer without a certificate")
    if further:
        raise ProtocolViolation("a chain of certificates where one is allowed")
    at = now or dt.datetime.now(dt.UTC)
    with Contained() as outcome:
        if not certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc:
            raise ProtocolViolation("a certificate outside its validity")
        certificate.verify_directly_issued_by(certificate)
        return _vouched(certificate)
    if isinstance(outcome.error, ProtocolViolation):
        raise outcome.error
    raise ProtocolViolation("a certificate that is not what libp2p asks for") from outcome.error


def _vouched(certificate: x509.Certificate) -> ID:
    found: bytes | None = None
    for extension in certificate.extensions:
        if extension.oid == _EXTENSION and isinstance(extension.value, x509.UnrecognizedExtension):
            found = extension.value.value
        elif extension.critical and isinstance(extension.value, x509.UnrecognizedExtension):
            raise ProtocolViolation("a certificate with a critical extension that nobody knows")
    if found is None:
        raise ProtocolViolation("a certificate without the libp2p extension")
    host_key, signature = _read_signed_key(found)
    public = deserialize_public_key(host_key)
    if not public.verify(_SIGNED_PREFIX + _spki(certificate.public_key()), signature):
        raise InvalidSignature
    return ID.from_pubkey(public)


def _spki(key: object) -> bytes:
    public: Any = key  # every kind of key has this method
    encoded: bytes = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encoded


# SignedKey ::= SEQUENCE { publicKey OCTET STRING, signature OCTET STRING }, in DER


def _signed_key(host_key: bytes, signature: bytes) -> bytes:
    return _der(_SEQUENCE, _der(_OCTET_STRING, host_key) + _der(_OCTET_STRING, signature))


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < _LONG_FORM:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, _LONG_FORM | len(length))) + length + content


def _read_signed_key(data: bytes) -> tuple[bytes, bytes]:
    inner, rest = _take(data, _SEQUENCE)
    host_key, left = _take(inner, _OCTET_STRING)
    signature, more = _take(left, _OCTET_STRING)
    if rest or more:
        raise ProtocolViolation("bytes after a SignedKey")
    return host_key, signature


def _take(data: bytes, tag: int) -> tuple[bytes, bytes]:
    """Return one value's content and what follows it; `ProtocolViolation` for another tag or a wrong length."""
    if len(data) < 2 or data[0] != tag:  # noqa: PLR2004 - tag and length
        raise ProtocolViolation("a SignedKey that is not as specified")
    size, begin = data[1], 2
    if size >= _LONG_FORM:
        begin += size - _LONG_FORM
        size = int.from_bytes(data[2:begin], "big")
    if begin + size > len(data):
        raise ProtocolViolation("a SignedKey that is cut off")
    return data[begin : begin + size], data[begin + size :]
