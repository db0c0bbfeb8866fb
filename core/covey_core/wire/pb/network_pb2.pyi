from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Network(_message.Message):
    __slots__ = ("name", "id", "subnets", "key", "previous_key", "bootstraps", "relays")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    SUBNETS_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_KEY_FIELD_NUMBER: _ClassVar[int]
    BOOTSTRAPS_FIELD_NUMBER: _ClassVar[int]
    RELAYS_FIELD_NUMBER: _ClassVar[int]
    name: str
    id: bytes
    subnets: _containers.RepeatedScalarFieldContainer[str]
    key: bytes
    previous_key: bytes
    bootstraps: _containers.RepeatedScalarFieldContainer[str]
    relays: _containers.RepeatedCompositeFieldContainer[Relay]
    def __init__(self, name: _Optional[str] = ..., id: _Optional[bytes] = ..., subnets: _Optional[_Iterable[str]] = ..., key: _Optional[bytes] = ..., previous_key: _Optional[bytes] = ..., bootstraps: _Optional[_Iterable[str]] = ..., relays: _Optional[_Iterable[_Union[Relay, _Mapping[str, object]]]] = ...) -> None: ...

class Relay(_message.Message):
    __slots__ = ("operator", "addrs")
    OPERATOR_FIELD_NUMBER: _ClassVar[int]
    ADDRS_FIELD_NUMBER: _ClassVar[int]
    operator: str
    addrs: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, operator: _Optional[str] = ..., addrs: _Optional[_Iterable[str]] = ...) -> None: ...
