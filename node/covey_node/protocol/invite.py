"""Invite links: who invites, into which network, where to find them, with which one-use token.

Owns: the payload of `covey:invite.` links, deflated so that a QR code of it can be read. Spec: docs/spec/invite.md.
Never touches: the database (callers pass what they stored), sockets, the clock.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from covey_core.errors import LinkInvalid, ProtocolViolation
from covey_core.link import decode_link, encode_link
from covey_core.network import Network
from covey_node import limits
from covey_node.protocol.contact_set import ContactSet, contact_set_from_pb, contact_set_to_pb
from covey_node.protocol.contents import decode_addrs
from covey_node.protocol.pb import invite_pb2 as pb

KIND = "invite"
VERSION = 2
_PLAIN = 1  # links made before: not deflated, with the network's link as text
_NETWORK_KIND = "net"
_RAW_DEFLATE = -zlib.MAX_WBITS


@dataclass(frozen=True, slots=True)
class Invite:
    """What an invite link carries. Without a token it is an open link: whoever uses it lands in the requests.

    `mailboxes`: where a request waits while the account's device is off.
    """

    network: Network
    account_key: bytes
    addrs: tuple[str, ...]
    token: bytes = field(repr=False)
    expires_at: float
    name: str
    mailboxes: ContactSet | None = None

    def to_link(self) -> str:
        """Return the `covey:invite.` text."""
        message = pb.Invite(
            network_payload=_payload_of(self.network),
            account_key=self.account_key,
            addrs=self.addrs,
            token=self.token,
            expires_at=int(self.expires_at),
            name=self.name,
            mailboxes=None if self.mailboxes is None else contact_set_to_pb(self.mailboxes, self.network),
        )
        deflate = zlib.compressobj(level=9, wbits=_RAW_DEFLATE)
        return encode_link(KIND, VERSION, deflate.compress(message.SerializeToString()) + deflate.flush())

    @classmethod
    def from_link(cls, text: str) -> Invite:
        """Return the invite in a link; LinkInvalid says what is wrong with it and what to do."""
        if len(text) > limits.INVITE_LINK_BYTES:
            raise LinkInvalid(f"the link has {len(text)} characters, more than any invite: copy only the link")
        kind, version, payload = decode_link(text)
        if kind != KIND:
            raise LinkInvalid(f"this is a `covey:{kind}.` link, not an invite: use `covey join` for a network's link")
        if version not in {_PLAIN, VERSION}:
            raise LinkInvalid(f"the invite has format {version}, this Covey knows {VERSION}: update Covey")
        message = pb.Invite()
        try:
            message.ParseFromString(payload if version == _PLAIN else _inflated(payload))
            addrs = decode_addrs(message.addrs)
        except (DecodeError, ProtocolViolation) as exc:
            raise LinkInvalid("the invite is damaged: ask for a new one") from exc
        sound = (
            len(message.account_key) == limits.ACCOUNT_KEY_BYTES
            and len(message.token) in {0, limits.INVITE_TOKEN_BYTES}
            and len(message.name.encode()) <= limits.NAME_BYTES
            and message.expires_at <= limits.TIMESTAMP_MS_MAX // 1000
        )
        if not sound:
            raise LinkInvalid("the invite is damaged: ask for a new one")
        network = Network.from_link(message.network) if version == _PLAIN else _network_of(message.network_payload)
        try:
            mailboxes = contact_set_from_pb(message.mailboxes, network) if message.HasField("mailboxes") else None
        except ProtocolViolation as exc:
            raise LinkInvalid("the invite is damaged: ask for a new one") from exc
        return cls(
            network=network,
            account_key=message.account_key,
            addrs=addrs,
            token=message.token,
            expires_at=float(message.expires_at),
            name=message.name,
            mailboxes=mailboxes,
        )


def _payload_of(network: Network) -> bytes:
    _, version, payload = decode_link(network.to_link())
    return bytes((version,)) + payload


def _network_of(payload: bytes) -> Network:
    try:
        return Network.from_link(encode_link(_NETWORK_KIND, payload[0] if payload else 0, payload[1:]))
    except ValueError as exc:
        raise LinkInvalid("the invite is damaged: ask for a new one") from exc


def _inflated(payload: bytes) -> bytes:
    """Return the whole of what was deflated; `ProtocolViolation` when it is more than an invite can be, or damaged."""
    inflate = zlib.decompressobj(wbits=_RAW_DEFLATE)
    try:
        found = inflate.decompress(payload, limits.INVITE_BYTES)
    except zlib.error as exc:
        raise ProtocolViolation("an invite that does not inflate") from exc
    if not inflate.eof or inflate.unused_data:
        raise ProtocolViolation("an invite that is cut off, or has bytes behind its end")
    return found


def token_hash(token: bytes) -> bytes:
    """Return the 32 bytes under which an invite's token is remembered: a stolen database gives no valid invite."""
    return hashlib.sha256(b"covey invite token 1\x00" + token).digest()
