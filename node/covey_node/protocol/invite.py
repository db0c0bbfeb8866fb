"""Invite links: who invites, into which network, where to find them, with which one-use token.

Owns: the payload of `covey:invite.` links. Spec: docs/spec/invite.md.
Never touches: the database (callers pass what they stored), sockets, the clock.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from covey_core.errors import LinkInvalid, ProtocolViolation
from covey_core.link import decode_link, encode_link
from covey_core.network import Network
from covey_node import limits
from covey_node.protocol.contents import decode_addrs
from covey_node.protocol.pb import invite_pb2 as pb

KIND = "invite"
VERSION = 1


@dataclass(frozen=True, slots=True)
class Invite:
    """What an invite link carries. Without a token it is an open link: whoever uses it lands in the requests."""

    network: Network
    account_key: bytes
    addrs: tuple[str, ...]
    token: bytes = field(repr=False)
    expires_at: float
    name: str

    def to_link(self) -> str:
        """Return the `covey:invite.` text."""
        message = pb.Invite(
            network=self.network.to_link(),
            account_key=self.account_key,
            addrs=self.addrs,
            token=self.token,
            expires_at=int(self.expires_at),
            name=self.name,
        )
        return encode_link(KIND, VERSION, message.SerializeToString())

    @classmethod
    def from_link(cls, text: str) -> Invite:
        """Return the invite in a link; LinkInvalid says what is wrong with it and what to do."""
        if len(text) > limits.INVITE_LINK_BYTES:
            raise LinkInvalid(f"the link has {len(text)} characters, more than any invite: copy only the link")
        kind, version, payload = decode_link(text)
        if kind != KIND:
            raise LinkInvalid(f"this is a `covey:{kind}.` link, not an invite: use `covey join` for a network's link")
        if version != VERSION:
            raise LinkInvalid(f"the invite has format {version}, this Covey knows {VERSION}: update Covey")
        message = pb.Invite()
        try:
            message.ParseFromString(payload)
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
        return cls(
            network=Network.from_link(message.network),
            account_key=message.account_key,
            addrs=addrs,
            token=message.token,
            expires_at=float(message.expires_at),
            name=message.name,
        )


def token_hash(token: bytes) -> bytes:
    """Return the 32 bytes under which an invite's token is remembered: a stolen database gives no valid invite."""
    return hashlib.sha256(b"covey invite token 1\x00" + token).digest()
