from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AheadRequest(_message.Message):
    __slots__ = ("leave", "withdraw")
    LEAVE_FIELD_NUMBER: _ClassVar[int]
    WITHDRAW_FIELD_NUMBER: _ClassVar[int]
    leave: Leave
    withdraw: Withdraw
    def __init__(self, leave: _Optional[_Union[Leave, _Mapping[str, object]]] = ..., withdraw: _Optional[_Union[Withdraw, _Mapping[str, object]]] = ...) -> None: ...

class Leave(_message.Message):
    __slots__ = ("value",)
    VALUE_FIELD_NUMBER: _ClassVar[int]
    value: bytes
    def __init__(self, value: _Optional[bytes] = ...) -> None: ...

class Withdraw(_message.Message):
    __slots__ = ("day_key", "sequence", "signature")
    DAY_KEY_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    day_key: bytes
    sequence: int
    signature: bytes
    def __init__(self, day_key: _Optional[bytes] = ..., sequence: _Optional[int] = ..., signature: _Optional[bytes] = ...) -> None: ...

class AheadAnswer(_message.Message):
    __slots__ = ("outcome", "retry_after")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    outcome: int
    retry_after: int
    def __init__(self, outcome: _Optional[int] = ..., retry_after: _Optional[int] = ...) -> None: ...
