"""What one device tells another inside the ratchet, as values and as bytes.

Owns: the kinds of content and their encoding. Spec: docs/spec/contents.md.
Never touches: sessions, sockets, the database, the clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import assert_never

from google.protobuf.message import DecodeError

from covey_core.errors import ProtocolViolation
from covey_node import limits
from covey_node.crypto.primitives import check_ed25519
from covey_node.protocol.mailboxes import Mailboxes as Mailboxes
from covey_node.protocol.mailboxes import Replica as Replica
from covey_node.protocol.mailboxes import mailboxes_from_pb, mailboxes_to_pb
from covey_node.protocol.pb import content_pb2 as pb


class ReceiptKind(IntEnum):
    """What a receipt says about messages of the other side."""

    DELIVERED = 1
    READ = 2


@dataclass(frozen=True, slots=True)
class Text:
    """A message for people: UTF-8 text, and the message it answers."""

    text: str
    reply_to: bytes | None = None


@dataclass(frozen=True, slots=True)
class Reaction:
    """A reaction to message `target`; an empty `emoji` takes it back."""

    target: bytes
    emoji: str


@dataclass(frozen=True, slots=True)
class Edit:
    """The new text of the sender's own message `target`."""

    target: bytes
    text: str


@dataclass(frozen=True, slots=True)
class Delete:
    """The sender's own message `target` is to be forgotten."""

    target: bytes


@dataclass(frozen=True, slots=True)
class Receipt:
    """Messages of the other side that were stored or read here."""

    kind: ReceiptKind
    message_ids: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Reachability:
    """How to find the sender from now on: its record key (32 bytes), contact secret (32 bytes), multiaddrs."""

    record_key: bytes = field(repr=False)
    record_secret: bytes = field(repr=False)
    addrs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ContactRequest:
    """The first content of a new acquaintance; `token` (16 bytes) comes from an invite, else it is empty.

    `addrs` and `mailboxes` are for the answer; where the sender is later is told only after it was accepted.
    """

    token: bytes = field(repr=False)
    name: str
    intro: str
    addrs: tuple[str, ...] = ()
    mailboxes: Mailboxes | None = None


@dataclass(frozen=True, slots=True)
class ContactAccept:
    """The answer yes: the sender's name, where it can be found, and where mail for it can be left."""

    name: str
    reachability: Reachability | None = None
    mailboxes: Mailboxes | None = None


@dataclass(frozen=True, slots=True)
class ContactRefuse:
    """The answer no."""


Body = (
    Text
    | Reaction
    | Edit
    | Delete
    | Receipt
    | ContactRequest
    | ContactAccept
    | ContactRefuse
    | Reachability
    | Mailboxes
)


@dataclass(frozen=True, slots=True)
class Content:
    """One content: who wrote it is known from the session, `message_id` (16 random bytes) is the author's."""

    message_id: bytes
    sent_at: float
    body: Body
    disappear_seconds: int = 0


def encode_content(content: Content) -> bytes:
    """Return the bytes that go into the ratchet; at most `limits.CONTENT_BYTES`."""
    message = pb.Content(
        message_id=content.message_id,
        sent_at_ms=max(0, round(content.sent_at * 1000)),
        disappear_seconds=content.disappear_seconds,
    )
    body = content.body
    match body:
        case Text():
            message.text.CopyFrom(pb.Text(text=body.text, reply_to=body.reply_to or b""))
        case Reaction():
            message.reaction.CopyFrom(pb.Reaction(target=body.target, emoji=body.emoji))
        case Edit():
            message.edit.CopyFrom(pb.Edit(target=body.target, text=body.text))
        case Delete():
            message.delete.CopyFrom(pb.Delete(target=body.target))
        case Receipt():
            kind = pb.Receipt.Kind.Name(body.kind.value)
            message.receipt.CopyFrom(pb.Receipt(kind=kind, message_ids=body.message_ids))
        case ContactRequest():
            message.contact_request.CopyFrom(_request_to_pb(body))
        case ContactAccept():
            message.contact_accept.CopyFrom(_accept_to_pb(body))
        case ContactRefuse():
            message.contact_refuse.CopyFrom(pb.ContactRefuse())
        case Reachability():
            message.reachability.CopyFrom(_reachability_to_pb(body))
        case Mailboxes():
            message.mailboxes.CopyFrom(mailboxes_to_pb(body))
        case _:
            assert_never(body)
    return message.SerializeToString()


def decode_content(data: bytes) -> Content:
    """Return the content; raise ProtocolViolation for any bytes that are none, or that break a limit."""
    if len(data) > limits.CONTENT_BYTES:
        raise ProtocolViolation(f"content of {len(data)} bytes is over {limits.CONTENT_BYTES}")
    message = pb.Content()
    try:
        message.ParseFromString(data)
    except DecodeError as exc:
        raise ProtocolViolation("content is not protobuf") from exc
    if message.sent_at_ms > limits.TIMESTAMP_MS_MAX:
        raise ProtocolViolation("content has a time beyond all calendars")
    if message.disappear_seconds > limits.DISAPPEAR_SECONDS_MAX:
        raise ProtocolViolation("content wants to stay longer than a disappearing message may")
    return Content(
        message_id=_exactly(message.message_id, limits.MESSAGE_ID_BYTES, "message id"),
        sent_at=message.sent_at_ms / 1000,
        body=_decode_body(message),
        disappear_seconds=message.disappear_seconds,
    )


def content_id_of(data: bytes) -> bytes | None:
    """Return the message id (16 bytes) of a content that `decode_content` cannot use, None when it has none."""
    message = pb.Content()
    try:
        message.ParseFromString(data)
    except DecodeError:
        return None
    return message.message_id if len(message.message_id) == limits.MESSAGE_ID_BYTES else None


def introduces(data: bytes) -> bool:
    """Tell whether encoded bytes are a request or an acceptance; not more than that is looked at."""
    message = pb.Content()
    message.ParseFromString(data)
    return message.WhichOneof("body") in {"contact_request", "contact_accept"}


def _decode_body(message: pb.Content) -> Body:
    match message.WhichOneof("body"):
        case "text":
            reply_to = message.text.reply_to
            return Text(
                text=_text(message.text.text, limits.TEXT_BYTES, "text"),
                reply_to=_exactly(reply_to, limits.MESSAGE_ID_BYTES, "reply target") if reply_to else None,
            )
        case "reaction":
            return Reaction(
                _target(message.reaction.target), _text(message.reaction.emoji, limits.EMOJI_BYTES, "emoji")
            )
        case "edit":
            return Edit(_target(message.edit.target), _text(message.edit.text, limits.TEXT_BYTES, "text"))
        case "delete":
            return Delete(_target(message.delete.target))
        case "receipt":
            return _decode_receipt(message.receipt)
        case "contact_request":
            request = message.contact_request
            return ContactRequest(
                token=_exactly(request.token, limits.INVITE_TOKEN_BYTES, "token") if request.token else b"",
                name=_text(request.name, limits.NAME_BYTES, "name"),
                intro=_text(request.intro, limits.INTRO_BYTES, "intro"),
                addrs=decode_addrs(request.addrs),
                mailboxes=_optional_mailboxes(request),
            )
        case "contact_accept":
            return ContactAccept(
                name=_text(message.contact_accept.name, limits.NAME_BYTES, "name"),
                reachability=_optional_reachability(message.contact_accept),
                mailboxes=_optional_mailboxes(message.contact_accept),
            )
        case "contact_refuse":
            return ContactRefuse()
        case "reachability":
            return _reachability_from_pb(message.reachability)
        case "mailboxes":
            return mailboxes_from_pb(message.mailboxes)
        case _:
            raise ProtocolViolation("content of an unknown kind")


def _decode_receipt(receipt: pb.Receipt) -> Receipt:
    if not 1 <= len(receipt.message_ids) <= limits.RECEIPT_IDS_MAX:
        raise ProtocolViolation(f"receipt for {len(receipt.message_ids)} messages")
    try:
        kind = ReceiptKind(receipt.kind)
    except ValueError as exc:
        raise ProtocolViolation("receipt of an unknown kind") from exc
    return Receipt(kind, tuple(_target(item) for item in receipt.message_ids))


def _request_to_pb(body: ContactRequest) -> pb.ContactRequest:
    message = pb.ContactRequest(token=body.token, name=body.name, intro=body.intro, addrs=body.addrs)
    if body.mailboxes:
        message.mailboxes.CopyFrom(mailboxes_to_pb(body.mailboxes))
    return message


def _accept_to_pb(body: ContactAccept) -> pb.ContactAccept:
    message = pb.ContactAccept(name=body.name)
    if body.reachability:
        message.reachability.CopyFrom(_reachability_to_pb(body.reachability))
    if body.mailboxes:
        message.mailboxes.CopyFrom(mailboxes_to_pb(body.mailboxes))
    return message


def _optional_reachability(message: pb.ContactAccept) -> Reachability | None:
    return _reachability_from_pb(message.reachability) if message.HasField("reachability") else None


def _optional_mailboxes(message: pb.ContactRequest | pb.ContactAccept) -> Mailboxes | None:
    return mailboxes_from_pb(message.mailboxes) if message.HasField("mailboxes") else None


def _reachability_from_pb(message: pb.Reachability) -> Reachability:
    return Reachability(
        record_key=check_ed25519(_exactly(message.record_key, limits.RECORD_KEY_BYTES, "record key")),
        record_secret=_exactly(message.record_secret, limits.RECORD_KEY_BYTES, "record secret"),
        addrs=decode_addrs(message.addrs),
    )


def _reachability_to_pb(value: Reachability) -> pb.Reachability:
    return pb.Reachability(record_key=value.record_key, record_secret=value.record_secret, addrs=value.addrs)


def decode_addrs(addrs: object) -> tuple[str, ...]:
    """Return up to `limits.ADDRS_MAX` multiaddr texts of at most `limits.ADDR_BYTES` each; the dialer parses them."""
    found = tuple(str(item) for item in addrs)  # type: ignore[attr-defined]  # a repeated protobuf field
    if len(found) > limits.ADDRS_MAX:
        raise ProtocolViolation(f"{len(found)} addresses are over {limits.ADDRS_MAX}")
    return tuple(_text(item, limits.ADDR_BYTES, "address") for item in found)


def _target(value: bytes) -> bytes:
    return _exactly(value, limits.MESSAGE_ID_BYTES, "message id")


def _exactly(value: bytes, size: int, what: str) -> bytes:
    if len(value) != size:
        raise ProtocolViolation(f"{what} of {len(value)} bytes instead of {size}")
    return value


def _text(value: str, limit_bytes: int, what: str) -> str:
    size = len(value.encode())
    if size > limit_bytes:
        raise ProtocolViolation(f"{what} of {size} bytes is over {limit_bytes}")
    return value
