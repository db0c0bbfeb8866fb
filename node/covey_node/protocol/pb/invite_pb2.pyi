from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Invite(_message.Message):
    __slots__ = ("network", "account_key", "addrs", "token", "expires_at", "name", "mailboxes", "network_payload")
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_KEY_FIELD_NUMBER: _ClassVar[int]
    ADDRS_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    MAILBOXES_FIELD_NUMBER: _ClassVar[int]
    NETWORK_PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    network: str
    account_key: bytes
    addrs: _containers.RepeatedScalarFieldContainer[str]
    token: bytes
    expires_at: int
    name: str
    mailboxes: ContactMailboxes
    network_payload: bytes
    def __init__(self, network: _Optional[str] = ..., account_key: _Optional[bytes] = ..., addrs: _Optional[_Iterable[str]] = ..., token: _Optional[bytes] = ..., expires_at: _Optional[int] = ..., name: _Optional[str] = ..., mailboxes: _Optional[_Union[ContactMailboxes, _Mapping[str, object]]] = ..., network_payload: _Optional[bytes] = ...) -> None: ...

class ContactMailboxes(_message.Message):
    __slots__ = ("device", "secret", "replicas")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    device: bytes
    secret: bytes
    replicas: _containers.RepeatedCompositeFieldContainer[ContactReplica]
    def __init__(self, device: _Optional[bytes] = ..., secret: _Optional[bytes] = ..., replicas: _Optional[_Iterable[_Union[ContactReplica, _Mapping[str, object]]]] = ...) -> None: ...

class ContactReplica(_message.Message):
    __slots__ = ("index", "relay", "addrs", "send_id")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    RELAY_FIELD_NUMBER: _ClassVar[int]
    ADDRS_FIELD_NUMBER: _ClassVar[int]
    SEND_ID_FIELD_NUMBER: _ClassVar[int]
    index: int
    relay: bytes
    addrs: _containers.RepeatedScalarFieldContainer[str]
    send_id: bytes
    def __init__(self, index: _Optional[int] = ..., relay: _Optional[bytes] = ..., addrs: _Optional[_Iterable[str]] = ..., send_id: _Optional[bytes] = ...) -> None: ...

class ContactRecord(_message.Message):
    __slots__ = ("account_key", "sequence", "addrs", "bundle", "signature", "made", "padding")
    ACCOUNT_KEY_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ADDRS_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    MADE_FIELD_NUMBER: _ClassVar[int]
    PADDING_FIELD_NUMBER: _ClassVar[int]
    account_key: bytes
    sequence: int
    addrs: _containers.RepeatedScalarFieldContainer[str]
    bundle: bytes
    signature: bytes
    made: int
    padding: bytes
    def __init__(self, account_key: _Optional[bytes] = ..., sequence: _Optional[int] = ..., addrs: _Optional[_Iterable[str]] = ..., bundle: _Optional[bytes] = ..., signature: _Optional[bytes] = ..., made: _Optional[int] = ..., padding: _Optional[bytes] = ...) -> None: ...

class PublicProfile(_message.Message):
    __slots__ = ("made", "name", "mailboxes")
    MADE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    MAILBOXES_FIELD_NUMBER: _ClassVar[int]
    made: int
    name: str
    mailboxes: ContactMailboxes
    def __init__(self, made: _Optional[int] = ..., name: _Optional[str] = ..., mailboxes: _Optional[_Union[ContactMailboxes, _Mapping[str, object]]] = ...) -> None: ...
