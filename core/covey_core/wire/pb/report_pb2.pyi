from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PunchReport(_message.Message):
    __slots__ = ("counts",)
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    counts: _containers.RepeatedCompositeFieldContainer[PunchCount]
    def __init__(self, counts: _Optional[_Iterable[_Union[PunchCount, _Mapping[str, object]]]] = ...) -> None: ...

class PunchCount(_message.Message):
    __slots__ = ("outcome", "transport", "nat_pair", "count")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    TRANSPORT_FIELD_NUMBER: _ClassVar[int]
    NAT_PAIR_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    outcome: int
    transport: int
    nat_pair: int
    count: int
    def __init__(self, outcome: _Optional[int] = ..., transport: _Optional[int] = ..., nat_pair: _Optional[int] = ..., count: _Optional[int] = ...) -> None: ...
