from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class HolePunch(_message.Message):
    __slots__ = ("type", "obs_addrs", "nat")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    OBS_ADDRS_FIELD_NUMBER: _ClassVar[int]
    NAT_FIELD_NUMBER: _ClassVar[int]
    type: int
    obs_addrs: _containers.RepeatedScalarFieldContainer[bytes]
    nat: int
    def __init__(self, type: _Optional[int] = ..., obs_addrs: _Optional[_Iterable[bytes]] = ..., nat: _Optional[int] = ...) -> None: ...
