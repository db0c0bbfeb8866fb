from covey_node.protocol.pb import mailboxes_pb2 as _mailboxes_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Content(_message.Message):
    __slots__ = ("message_id", "sent_at_ms", "disappear_seconds", "text", "reaction", "edit", "delete", "receipt", "contact_request", "contact_accept", "contact_refuse", "reachability", "mailboxes")
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    SENT_AT_MS_FIELD_NUMBER: _ClassVar[int]
    DISAPPEAR_SECONDS_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    REACTION_FIELD_NUMBER: _ClassVar[int]
    EDIT_FIELD_NUMBER: _ClassVar[int]
    DELETE_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    CONTACT_REQUEST_FIELD_NUMBER: _ClassVar[int]
    CONTACT_ACCEPT_FIELD_NUMBER: _ClassVar[int]
    CONTACT_REFUSE_FIELD_NUMBER: _ClassVar[int]
    REACHABILITY_FIELD_NUMBER: _ClassVar[int]
    MAILBOXES_FIELD_NUMBER: _ClassVar[int]
    message_id: bytes
    sent_at_ms: int
    disappear_seconds: int
    text: Text
    reaction: Reaction
    edit: Edit
    delete: Delete
    receipt: Receipt
    contact_request: ContactRequest
    contact_accept: ContactAccept
    contact_refuse: ContactRefuse
    reachability: Reachability
    mailboxes: _mailboxes_pb2.Mailboxes
    def __init__(self, message_id: _Optional[bytes] = ..., sent_at_ms: _Optional[int] = ..., disappear_seconds: _Optional[int] = ..., text: _Optional[_Union[Text, _Mapping[str, object]]] = ..., reaction: _Optional[_Union[Reaction, _Mapping[str, object]]] = ..., edit: _Optional[_Union[Edit, _Mapping[str, object]]] = ..., delete: _Optional[_Union[Delete, _Mapping[str, object]]] = ..., receipt: _Optional[_Union[Receipt, _Mapping[str, object]]] = ..., contact_request: _Optional[_Union[ContactRequest, _Mapping[str, object]]] = ..., contact_accept: _Optional[_Union[ContactAccept, _Mapping[str, object]]] = ..., contact_refuse: _Optional[_Union[ContactRefuse, _Mapping[str, object]]] = ..., reachability: _Optional[_Union[Reachability, _Mapping[str, object]]] = ..., mailboxes: _Optional[_Union[_mailboxes_pb2.Mailboxes, _Mapping[str, object]]] = ...) -> None: ...

class Text(_message.Message):
    __slots__ = ("text", "reply_to")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    REPLY_TO_FIELD_NUMBER: _ClassVar[int]
    text: str
    reply_to: bytes
    def __init__(self, text: _Optional[str] = ..., reply_to: _Optional[bytes] = ...) -> None: ...

class Reaction(_message.Message):
    __slots__ = ("target", "emoji")
    TARGET_FIELD_NUMBER: _ClassVar[int]
    EMOJI_FIELD_NUMBER: _ClassVar[int]
    target: bytes
    emoji: str
    def __init__(self, target: _Optional[bytes] = ..., emoji: _Optional[str] = ...) -> None: ...

class Edit(_message.Message):
    __slots__ = ("target", "text")
    TARGET_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    target: bytes
    text: str
    def __init__(self, target: _Optional[bytes] = ..., text: _Optional[str] = ...) -> None: ...

class Delete(_message.Message):
    __slots__ = ("target",)
    TARGET_FIELD_NUMBER: _ClassVar[int]
    target: bytes
    def __init__(self, target: _Optional[bytes] = ...) -> None: ...

class Receipt(_message.Message):
    __slots__ = ("kind", "message_ids")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        UNKNOWN: _ClassVar[Receipt.Kind]
        DELIVERED: _ClassVar[Receipt.Kind]
        READ: _ClassVar[Receipt.Kind]
    UNKNOWN: Receipt.Kind
    DELIVERED: Receipt.Kind
    READ: Receipt.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_IDS_FIELD_NUMBER: _ClassVar[int]
    kind: Receipt.Kind
    message_ids: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, kind: _Optional[_Union[Receipt.Kind, str]] = ..., message_ids: _Optional[_Iterable[bytes]] = ...) -> None: ...

class ContactRequest(_message.Message):
    __slots__ = ("token", "name", "intro", "addrs", "mailboxes")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    INTRO_FIELD_NUMBER: _ClassVar[int]
    ADDRS_FIELD_NUMBER: _ClassVar[int]
    MAILBOXES_FIELD_NUMBER: _ClassVar[int]
    token: bytes
    name: str
    intro: str
    addrs: _containers.RepeatedScalarFieldContainer[str]
    mailboxes: _mailboxes_pb2.Mailboxes
    def __init__(self, token: _Optional[bytes] = ..., name: _Optional[str] = ..., intro: _Optional[str] = ..., addrs: _Optional[_Iterable[str]] = ..., mailboxes: _Optional[_Union[_mailboxes_pb2.Mailboxes, _Mapping[str, object]]] = ...) -> None: ...

class ContactAccept(_message.Message):
    __slots__ = ("name", "reachability", "mailboxes")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REACHABILITY_FIELD_NUMBER: _ClassVar[int]
    MAILBOXES_FIELD_NUMBER: _ClassVar[int]
    name: str
    reachability: Reachability
    mailboxes: _mailboxes_pb2.Mailboxes
    def __init__(self, name: _Optional[str] = ..., reachability: _Optional[_Union[Reachability, _Mapping[str, object]]] = ..., mailboxes: _Optional[_Union[_mailboxes_pb2.Mailboxes, _Mapping[str, object]]] = ...) -> None: ...

class ContactRefuse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Reachability(_message.Message):
    __slots__ = ("record_key", "record_secret", "addrs")
    RECORD_KEY_FIELD_NUMBER: _ClassVar[int]
    RECORD_SECRET_FIELD_NUMBER: _ClassVar[int]
    ADDRS_FIELD_NUMBER: _ClassVar[int]
    record_key: bytes
    record_secret: bytes
    addrs: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, record_key: _Optional[bytes] = ..., record_secret: _Optional[bytes] = ..., addrs: _Optional[_Iterable[str]] = ...) -> None: ...
