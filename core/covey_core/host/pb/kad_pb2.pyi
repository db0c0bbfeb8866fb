from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Record(_message.Message):
    __slots__ = ("key", "value", "time_received")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    TIME_RECEIVED_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    value: bytes
    time_received: str
    def __init__(self, key: _Optional[bytes] = ..., value: _Optional[bytes] = ..., time_received: _Optional[str] = ...) -> None: ...

class Peer(_message.Message):
    __slots__ = ("id", "addrs", "connection")
    class Connection(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        NOT_CONNECTED: _ClassVar[Peer.Connection]
        CONNECTED: _ClassVar[Peer.Connection]
        CAN_CONNECT: _ClassVar[Peer.Connection]
        CANNOT_CONNECT: _ClassVar[Peer.Connection]
    NOT_CONNECTED: Peer.Connection
    CONNECTED: Peer.Connection
    CAN_CONNECT: Peer.Connection
    CANNOT_CONNECT: Peer.Connection
    ID_FIELD_NUMBER: _ClassVar[int]
    ADDRS_FIELD_NUMBER: _ClassVar[int]
    CONNECTION_FIELD_NUMBER: _ClassVar[int]
    id: bytes
    addrs: _containers.RepeatedScalarFieldContainer[bytes]
    connection: Peer.Connection
    def __init__(self, id: _Optional[bytes] = ..., addrs: _Optional[_Iterable[bytes]] = ..., connection: _Optional[_Union[Peer.Connection, str]] = ...) -> None: ...

class Message(_message.Message):
    __slots__ = ("type", "key", "record", "closer_peers", "provider_peers")
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        PUT_VALUE: _ClassVar[Message.Type]
        GET_VALUE: _ClassVar[Message.Type]
        ADD_PROVIDER: _ClassVar[Message.Type]
        GET_PROVIDERS: _ClassVar[Message.Type]
        FIND_NODE: _ClassVar[Message.Type]
        PING: _ClassVar[Message.Type]
    PUT_VALUE: Message.Type
    GET_VALUE: Message.Type
    ADD_PROVIDER: Message.Type
    GET_PROVIDERS: Message.Type
    FIND_NODE: Message.Type
    PING: Message.Type
    TYPE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    RECORD_FIELD_NUMBER: _ClassVar[int]
    CLOSER_PEERS_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_PEERS_FIELD_NUMBER: _ClassVar[int]
    type: Message.Type
    key: bytes
    record: Record
    closer_peers: _containers.RepeatedCompositeFieldContainer[Peer]
    provider_peers: _containers.RepeatedCompositeFieldContainer[Peer]
    def __init__(self, type: _Optional[_Union[Message.Type, str]] = ..., key: _Optional[bytes] = ..., record: _Optional[_Union[Record, _Mapping[str, object]]] = ..., closer_peers: _Optional[_Iterable[_Union[Peer, _Mapping[str, object]]]] = ..., provider_peers: _Optional[_Iterable[_Union[Peer, _Mapping[str, object]]]] = ...) -> None: ...
