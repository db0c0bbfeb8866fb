from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class Invite(_message.Message):
    __slots__ = ("network", "account_key", "addrs", "token", "expires_at", "name")
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_KEY_FIELD_NUMBER: _ClassVar[int]
    ADDRS_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    network: str
    account_key: bytes
    addrs: _containers.RepeatedScalarFieldContainer[str]
    token: bytes
    expires_at: int
    name: str
    def __init__(self, network: _Optional[str] = ..., account_key: _Optional[bytes] = ..., addrs: _Optional[_Iterable[str]] = ..., token: _Optional[bytes] = ..., expires_at: _Optional[int] = ..., name: _Optional[str] = ...) -> None: ...

class ContactRecord(_message.Message):
    __slots__ = ("account_key", "sequence", "addrs", "bundle", "signature")
    ACCOUNT_KEY_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ADDRS_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    account_key: bytes
    sequence: int
    addrs: _containers.RepeatedScalarFieldContainer[str]
    bundle: bytes
    signature: bytes
    def __init__(self, account_key: _Optional[bytes] = ..., sequence: _Optional[int] = ..., addrs: _Optional[_Iterable[str]] = ..., bundle: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...
