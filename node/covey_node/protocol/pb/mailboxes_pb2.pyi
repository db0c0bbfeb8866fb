from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Mailboxes(_message.Message):
    __slots__ = ("number", "secret", "replicas")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    number: int
    secret: bytes
    replicas: _containers.RepeatedCompositeFieldContainer[Replica]
    def __init__(self, number: _Optional[int] = ..., secret: _Optional[bytes] = ..., replicas: _Optional[_Iterable[_Union[Replica, _Mapping[str, object]]]] = ...) -> None: ...

class Replica(_message.Message):
    __slots__ = ("relay", "addrs", "send_id")
    RELAY_FIELD_NUMBER: _ClassVar[int]
    ADDRS_FIELD_NUMBER: _ClassVar[int]
    SEND_ID_FIELD_NUMBER: _ClassVar[int]
    relay: bytes
    addrs: _containers.RepeatedScalarFieldContainer[str]
    send_id: bytes
    def __init__(self, relay: _Optional[bytes] = ..., addrs: _Optional[_Iterable[str]] = ..., send_id: _Optional[bytes] = ...) -> None: ...
