"""What an account tells everybody who knows it: a name, and where to leave a request.

Owns: the profile and its encoding. Spec: docs/spec/profile.md. Never touches: keys, the outer record
(covey_core.records), the DHT.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from google.protobuf.message import DecodeError

from covey_core.errors import ProtocolViolation
from covey_core.network import Network
from covey_node import limits
from covey_node.protocol.contact_set import ContactSet, contact_set_from_pb, contact_set_to_pb
from covey_node.protocol.pb import invite_pb2 as pb

_LENGTH_BYTES = 2


@dataclass(frozen=True, slots=True)
class PublicProfile:
    """A profile. `made` (Unix seconds, ascending) orders all that the account published; without mailboxes: hidden."""

    made: int
    name: str
    mailboxes: ContactSet | None

    def encode(self, network: Network) -> bytes:
        """Return the bytes, padded to the sizes of contact records."""
        bare = replace(network, relays=())  # relays are spelled out: readers may know others
        message = pb.PublicProfile(
            made=self.made,
            name=self.name,
            mailboxes=None if self.mailboxes is None else contact_set_to_pb(self.mailboxes, bare),
        )
        plain = message.SerializeToString()
        steps = max(limits.PROFILE_STEPS_MIN, -(-(_LENGTH_BYTES + len(plain)) // limits.RECORD_STEP_BYTES))
        size = steps * limits.RECORD_STEP_BYTES
        if size > limits.RECORD_PLAINTEXT_BYTES:
            raise ProtocolViolation(f"a profile of {len(plain)} bytes")
        return (len(plain).to_bytes(_LENGTH_BYTES, "big") + plain).ljust(size, b"\x00")

    @classmethod
    def decode(cls, data: bytes, network: Network) -> PublicProfile:
        """Return the profile; `ProtocolViolation` when it is none, or a field is not what it may be."""
        size = int.from_bytes(data[:_LENGTH_BYTES], "big")
        plain = data[_LENGTH_BYTES : _LENGTH_BYTES + size]
        if len(plain) != size or data[_LENGTH_BYTES + size :].strip(b"\x00"):
            raise ProtocolViolation("a profile that is cut off, or not padded with zeros")
        message = pb.PublicProfile()
        try:
            message.ParseFromString(plain)
        except DecodeError as exc:
            raise ProtocolViolation("a profile that is no protobuf") from exc
        if message.made > limits.RECORD_SEQUENCE_MAX or len(message.name.encode()) > limits.NAME_BYTES:
            raise ProtocolViolation("a profile with a number or name that cannot be")
        bare = replace(network, relays=())
        mailboxes = contact_set_from_pb(message.mailboxes, bare) if message.HasField("mailboxes") else None
        return cls(message.made, message.name, mailboxes)
