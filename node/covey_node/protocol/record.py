"""What stands inside a contact record: who, where, and with which keys, signed by the account.

Owns: the inner record and its encoding. Spec: docs/spec/contact-record.md, "Inside".
Never touches: the outer record (covey_core.records), the DHT, the database.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from covey_core.errors import ProtocolViolation
from covey_node import limits
from covey_node.crypto.primitives import verify
from covey_node.protocol.contents import decode_addrs
from covey_node.protocol.pb import invite_pb2 as pb

SIGN_CONTEXT = b"covey contact record inside 1\x00"
"""What the account signs begins with this: a signature for anything else never fits."""

Sign = Callable[[bytes, bytes], bytes]

_ONE_BYTE_LENGTH = 127  # longer fields of protobuf have their length in two bytes


@dataclass(frozen=True, slots=True)
class InnerRecord:
    """An account's word about where its device is: addresses, and a key bundle (docs/spec/e2ee.md).

    `sequence` is the outer record's, which orders the values of one day's key; `made` orders all that the account
    ever signed, and is what a reader goes by.
    """

    account_key: bytes
    sequence: int
    made: int
    addrs: tuple[str, ...]
    bundle: bytes = field(repr=False)

    def encode(self, sign: Sign) -> bytes:
        """Return the bytes, padded to full steps; `sign(context, body)` signs with the account's key."""
        message = self._message(sign(SIGN_CONTEXT, self._body()))
        message.padding = bytes(_padding(message.ByteSize()))
        return message.SerializeToString(deterministic=True)

    @classmethod
    def decode(cls, data: bytes, *, account_key: bytes) -> InnerRecord:
        """Return the record of that account; ProtocolViolation when it is damaged, another's, or wrongly signed."""
        if len(data) > limits.RECORD_PLAINTEXT_BYTES:
            raise ProtocolViolation(f"inner record of {len(data)} bytes is over {limits.RECORD_PLAINTEXT_BYTES}")
        message = pb.ContactRecord()
        try:
            message.ParseFromString(data)
        except DecodeError as exc:
            raise ProtocolViolation("inner record is not protobuf") from exc
        if message.account_key != account_key:
            raise ProtocolViolation("a contact record of another account")
        if (highest := max(message.sequence, message.made)) > limits.RECORD_SEQUENCE_MAX:
            raise ProtocolViolation(f"inner record of sequence {highest} is over {limits.RECORD_SEQUENCE_MAX}")
        if len(message.bundle) > limits.BUNDLE_BYTES:
            raise ProtocolViolation(f"bundle of {len(message.bundle)} bytes is over {limits.BUNDLE_BYTES}")
        addrs = decode_addrs(message.addrs)
        record = cls(message.account_key, message.sequence, message.made, addrs, message.bundle)
        verify(account_key, SIGN_CONTEXT, record._body(), message.signature)
        return record

    def _message(self, signature: bytes) -> pb.ContactRecord:
        return pb.ContactRecord(
            account_key=self.account_key,
            sequence=self.sequence,
            made=self.made,
            addrs=self.addrs,
            bundle=self.bundle,
            signature=signature,
        )

    def _body(self) -> bytes:
        """Return what is signed: every field with its length before it, so that nothing can move between fields."""
        parts = [self.account_key, self.sequence.to_bytes(8, "big"), self.made.to_bytes(8, "big")]
        parts.append(len(self.addrs).to_bytes(2, "big"))
        for addr in self.addrs:
            text = addr.encode()
            parts += [len(text).to_bytes(2, "big"), text]
        parts += [len(self.bundle).to_bytes(4, "big"), self.bundle]
        return b"".join(parts)


def _padding(size: int) -> int:
    """Return the length of a padding field that fills `size` bytes up to the next step, or to the one after it.

    Its tag and length take 2 bytes, or 3: so 1, 2 and 130 bytes are not to be had. 0 where no step fits any more.
    """
    step = limits.RECORD_STEP_BYTES
    for target in (-(-size // step) * step, (size // step + 2) * step):
        room = min(target, limits.RECORD_PLAINTEXT_BYTES) - size
        for length in (room - 2, room - 3):
            if length > 0 and (length <= _ONE_BYTE_LENGTH) == (room - length == 2):  # noqa: PLR2004 - tag and length
                return length
        if room == 0:
            return 0
    return 0
