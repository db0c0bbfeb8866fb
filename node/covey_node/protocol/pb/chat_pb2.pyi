from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ChatFrame(_message.Message):
    __slots__ = ("packet", "ack")
    PACKET_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    packet: Packet
    ack: Ack
    def __init__(self, packet: _Optional[_Union[Packet, _Mapping[str, object]]] = ..., ack: _Optional[_Union[Ack, _Mapping[str, object]]] = ...) -> None: ...

class Packet(_message.Message):
    __slots__ = ("number", "blob")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    BLOB_FIELD_NUMBER: _ClassVar[int]
    number: int
    blob: bytes
    def __init__(self, number: _Optional[int] = ..., blob: _Optional[bytes] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("number", "outcome")
    class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        UNKNOWN: _ClassVar[Ack.Outcome]
        ACCEPTED: _ClassVar[Ack.Outcome]
        DUPLICATE: _ClassVar[Ack.Outcome]
        RETRY_LATER: _ClassVar[Ack.Outcome]
        UNDECRYPTABLE: _ClassVar[Ack.Outcome]
        NOT_A_CONTACT: _ClassVar[Ack.Outcome]
        INVITE_UNKNOWN: _ClassVar[Ack.Outcome]
        INVITE_USED: _ClassVar[Ack.Outcome]
        INVITE_EXPIRED: _ClassVar[Ack.Outcome]
        TOO_MANY_REQUESTS: _ClassVar[Ack.Outcome]
    UNKNOWN: Ack.Outcome
    ACCEPTED: Ack.Outcome
    DUPLICATE: Ack.Outcome
    RETRY_LATER: Ack.Outcome
    UNDECRYPTABLE: Ack.Outcome
    NOT_A_CONTACT: Ack.Outcome
    INVITE_UNKNOWN: Ack.Outcome
    INVITE_USED: Ack.Outcome
    INVITE_EXPIRED: Ack.Outcome
    TOO_MANY_REQUESTS: Ack.Outcome
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    number: int
    outcome: Ack.Outcome
    def __init__(self, number: _Optional[int] = ..., outcome: _Optional[_Union[Ack.Outcome, str]] = ...) -> None: ...

class BundleRequest(_message.Message):
    __slots__ = ("account_key",)
    ACCOUNT_KEY_FIELD_NUMBER: _ClassVar[int]
    account_key: bytes
    def __init__(self, account_key: _Optional[bytes] = ...) -> None: ...

class BundleReply(_message.Message):
    __slots__ = ("outcome", "bundle")
    class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        UNKNOWN: _ClassVar[BundleReply.Outcome]
        HERE: _ClassVar[BundleReply.Outcome]
        NO_SUCH_ACCOUNT: _ClassVar[BundleReply.Outcome]
        RETRY_LATER: _ClassVar[BundleReply.Outcome]
    UNKNOWN: BundleReply.Outcome
    HERE: BundleReply.Outcome
    NO_SUCH_ACCOUNT: BundleReply.Outcome
    RETRY_LATER: BundleReply.Outcome
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    outcome: BundleReply.Outcome
    bundle: bytes
    def __init__(self, outcome: _Optional[_Union[BundleReply.Outcome, str]] = ..., bundle: _Optional[bytes] = ...) -> None: ...
