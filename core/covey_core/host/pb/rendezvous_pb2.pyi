from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Message(_message.Message):
    __slots__ = ("type", "register", "register_response", "unregister", "discover", "discover_response")
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        REGISTER: _ClassVar[Message.Type]
        REGISTER_RESPONSE: _ClassVar[Message.Type]
        UNREGISTER: _ClassVar[Message.Type]
        DISCOVER: _ClassVar[Message.Type]
        DISCOVER_RESPONSE: _ClassVar[Message.Type]
    REGISTER: Message.Type
    REGISTER_RESPONSE: Message.Type
    UNREGISTER: Message.Type
    DISCOVER: Message.Type
    DISCOVER_RESPONSE: Message.Type
    class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        OK: _ClassVar[Message.Status]
        E_INVALID_NAMESPACE: _ClassVar[Message.Status]
        E_INVALID_SIGNED_PEER_RECORD: _ClassVar[Message.Status]
        E_INVALID_TTL: _ClassVar[Message.Status]
        E_INVALID_COOKIE: _ClassVar[Message.Status]
        E_NOT_AUTHORIZED: _ClassVar[Message.Status]
        E_INTERNAL_ERROR: _ClassVar[Message.Status]
        E_UNAVAILABLE: _ClassVar[Message.Status]
    OK: Message.Status
    E_INVALID_NAMESPACE: Message.Status
    E_INVALID_SIGNED_PEER_RECORD: Message.Status
    E_INVALID_TTL: Message.Status
    E_INVALID_COOKIE: Message.Status
    E_NOT_AUTHORIZED: Message.Status
    E_INTERNAL_ERROR: Message.Status
    E_UNAVAILABLE: Message.Status
    class Register(_message.Message):
        __slots__ = ("ns", "signed_peer_record", "ttl")
        NS_FIELD_NUMBER: _ClassVar[int]
        SIGNED_PEER_RECORD_FIELD_NUMBER: _ClassVar[int]
        TTL_FIELD_NUMBER: _ClassVar[int]
        ns: str
        signed_peer_record: bytes
        ttl: int
        def __init__(self, ns: _Optional[str] = ..., signed_peer_record: _Optional[bytes] = ..., ttl: _Optional[int] = ...) -> None: ...
    class RegisterResponse(_message.Message):
        __slots__ = ("status", "status_text", "ttl")
        STATUS_FIELD_NUMBER: _ClassVar[int]
        STATUS_TEXT_FIELD_NUMBER: _ClassVar[int]
        TTL_FIELD_NUMBER: _ClassVar[int]
        status: Message.Status
        status_text: str
        ttl: int
        def __init__(self, status: _Optional[_Union[Message.Status, str]] = ..., status_text: _Optional[str] = ..., ttl: _Optional[int] = ...) -> None: ...
    class Unregister(_message.Message):
        __slots__ = ("ns", "id")
        NS_FIELD_NUMBER: _ClassVar[int]
        ID_FIELD_NUMBER: _ClassVar[int]
        ns: str
        id: bytes
        def __init__(self, ns: _Optional[str] = ..., id: _Optional[bytes] = ...) -> None: ...
    class Discover(_message.Message):
        __slots__ = ("ns", "limit", "cookie")
        NS_FIELD_NUMBER: _ClassVar[int]
        LIMIT_FIELD_NUMBER: _ClassVar[int]
        COOKIE_FIELD_NUMBER: _ClassVar[int]
        ns: str
        limit: int
        cookie: bytes
        def __init__(self, ns: _Optional[str] = ..., limit: _Optional[int] = ..., cookie: _Optional[bytes] = ...) -> None: ...
    class DiscoverResponse(_message.Message):
        __slots__ = ("registrations", "cookie", "status", "status_text")
        REGISTRATIONS_FIELD_NUMBER: _ClassVar[int]
        COOKIE_FIELD_NUMBER: _ClassVar[int]
        STATUS_FIELD_NUMBER: _ClassVar[int]
        STATUS_TEXT_FIELD_NUMBER: _ClassVar[int]
        registrations: _containers.RepeatedCompositeFieldContainer[Message.Register]
        cookie: bytes
        status: Message.Status
        status_text: str
        def __init__(self, registrations: _Optional[_Iterable[_Union[Message.Register, _Mapping[str, object]]]] = ..., cookie: _Optional[bytes] = ..., status: _Optional[_Union[Message.Status, str]] = ..., status_text: _Optional[str] = ...) -> None: ...
    TYPE_FIELD_NUMBER: _ClassVar[int]
    REGISTER_FIELD_NUMBER: _ClassVar[int]
    REGISTER_RESPONSE_FIELD_NUMBER: _ClassVar[int]
    UNREGISTER_FIELD_NUMBER: _ClassVar[int]
    DISCOVER_FIELD_NUMBER: _ClassVar[int]
    DISCOVER_RESPONSE_FIELD_NUMBER: _ClassVar[int]
    type: Message.Type
    register: Message.Register
    register_response: Message.RegisterResponse
    unregister: Message.Unregister
    discover: Message.Discover
    discover_response: Message.DiscoverResponse
    def __init__(self, type: _Optional[_Union[Message.Type, str]] = ..., register: _Optional[_Union[Message.Register, _Mapping[str, object]]] = ..., register_response: _Optional[_Union[Message.RegisterResponse, _Mapping[str, object]]] = ..., unregister: _Optional[_Union[Message.Unregister, _Mapping[str, object]]] = ..., discover: _Optional[_Union[Message.Discover, _Mapping[str, object]]] = ..., discover_response: _Optional[_Union[Message.DiscoverResponse, _Mapping[str, object]]] = ...) -> None: ...

class PeerRecord(_message.Message):
    __slots__ = ("peer_id", "seq", "addresses")
    class AddressInfo(_message.Message):
        __slots__ = ("multiaddr",)
        MULTIADDR_FIELD_NUMBER: _ClassVar[int]
        multiaddr: bytes
        def __init__(self, multiaddr: _Optional[bytes] = ...) -> None: ...
    PEER_ID_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    peer_id: bytes
    seq: int
    addresses: _containers.RepeatedCompositeFieldContainer[PeerRecord.AddressInfo]
    def __init__(self, peer_id: _Optional[bytes] = ..., seq: _Optional[int] = ..., addresses: _Optional[_Iterable[_Union[PeerRecord.AddressInfo, _Mapping[str, object]]]] = ...) -> None: ...
