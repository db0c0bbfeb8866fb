from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Hello(_message.Message):
    __slots__ = ("nonce", "time", "forward_key", "forward_until", "forward_signature")
    NONCE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    FORWARD_KEY_FIELD_NUMBER: _ClassVar[int]
    FORWARD_UNTIL_FIELD_NUMBER: _ClassVar[int]
    FORWARD_SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    nonce: bytes
    time: int
    forward_key: bytes
    forward_until: int
    forward_signature: bytes
    def __init__(self, nonce: _Optional[bytes] = ..., time: _Optional[int] = ..., forward_key: _Optional[bytes] = ..., forward_until: _Optional[int] = ..., forward_signature: _Optional[bytes] = ...) -> None: ...

class Request(_message.Message):
    __slots__ = ("id", "command", "signature")
    ID_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    id: int
    command: bytes
    signature: bytes
    def __init__(self, id: _Optional[int] = ..., command: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class Command(_message.Message):
    __slots__ = ("new", "put", "get", "sub", "ack", "have", "rot", "fwd", "stock", "take", "work")
    NEW_FIELD_NUMBER: _ClassVar[int]
    PUT_FIELD_NUMBER: _ClassVar[int]
    GET_FIELD_NUMBER: _ClassVar[int]
    SUB_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    HAVE_FIELD_NUMBER: _ClassVar[int]
    ROT_FIELD_NUMBER: _ClassVar[int]
    DEL_FIELD_NUMBER: _ClassVar[int]
    FWD_FIELD_NUMBER: _ClassVar[int]
    STOCK_FIELD_NUMBER: _ClassVar[int]
    TAKE_FIELD_NUMBER: _ClassVar[int]
    WORK_FIELD_NUMBER: _ClassVar[int]
    new: New
    put: Put
    get: Get
    sub: Sub
    ack: Ack
    have: Have
    rot: Rot
    fwd: Fwd
    stock: Stock
    take: Take
    work: Work
    def __init__(self, new: _Optional[_Union[New, _Mapping[str, object]]] = ..., put: _Optional[_Union[Put, _Mapping[str, object]]] = ..., get: _Optional[_Union[Get, _Mapping[str, object]]] = ..., sub: _Optional[_Union[Sub, _Mapping[str, object]]] = ..., ack: _Optional[_Union[Ack, _Mapping[str, object]]] = ..., have: _Optional[_Union[Have, _Mapping[str, object]]] = ..., rot: _Optional[_Union[Rot, _Mapping[str, object]]] = ..., fwd: _Optional[_Union[Fwd, _Mapping[str, object]]] = ..., stock: _Optional[_Union[Stock, _Mapping[str, object]]] = ..., take: _Optional[_Union[Take, _Mapping[str, object]]] = ..., work: _Optional[_Union[Work, _Mapping[str, object]]] = ..., **kwargs: object) -> None: ...

class Admit(_message.Message):
    __slots__ = ("kind", "send_key", "hashes", "bits")
    KIND_FIELD_NUMBER: _ClassVar[int]
    SEND_KEY_FIELD_NUMBER: _ClassVar[int]
    HASHES_FIELD_NUMBER: _ClassVar[int]
    BITS_FIELD_NUMBER: _ClassVar[int]
    kind: int
    send_key: bytes
    hashes: _containers.RepeatedScalarFieldContainer[bytes]
    bits: int
    def __init__(self, kind: _Optional[int] = ..., send_key: _Optional[bytes] = ..., hashes: _Optional[_Iterable[bytes]] = ..., bits: _Optional[int] = ...) -> None: ...

class New(_message.Message):
    __slots__ = ("recv_key", "admit")
    RECV_KEY_FIELD_NUMBER: _ClassVar[int]
    ADMIT_FIELD_NUMBER: _ClassVar[int]
    recv_key: bytes
    admit: Admit
    def __init__(self, recv_key: _Optional[bytes] = ..., admit: _Optional[_Union[Admit, _Mapping[str, object]]] = ...) -> None: ...

class Rot(_message.Message):
    __slots__ = ("recv_id", "admit")
    RECV_ID_FIELD_NUMBER: _ClassVar[int]
    ADMIT_FIELD_NUMBER: _ClassVar[int]
    recv_id: bytes
    admit: Admit
    def __init__(self, recv_id: _Optional[bytes] = ..., admit: _Optional[_Union[Admit, _Mapping[str, object]]] = ...) -> None: ...

class Del(_message.Message):
    __slots__ = ("recv_id",)
    RECV_ID_FIELD_NUMBER: _ClassVar[int]
    recv_id: bytes
    def __init__(self, recv_id: _Optional[bytes] = ...) -> None: ...

class Proof(_message.Message):
    __slots__ = ("secret", "challenge", "answer")
    SECRET_FIELD_NUMBER: _ClassVar[int]
    CHALLENGE_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    secret: bytes
    challenge: bytes
    answer: int
    def __init__(self, secret: _Optional[bytes] = ..., challenge: _Optional[bytes] = ..., answer: _Optional[int] = ...) -> None: ...

class Put(_message.Message):
    __slots__ = ("send_id", "mid", "ttl", "blob", "proof")
    SEND_ID_FIELD_NUMBER: _ClassVar[int]
    MID_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    BLOB_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    send_id: bytes
    mid: bytes
    ttl: int
    blob: bytes
    proof: Proof
    def __init__(self, send_id: _Optional[bytes] = ..., mid: _Optional[bytes] = ..., ttl: _Optional[int] = ..., blob: _Optional[bytes] = ..., proof: _Optional[_Union[Proof, _Mapping[str, object]]] = ...) -> None: ...

class Have(_message.Message):
    __slots__ = ("send_id", "mids")
    SEND_ID_FIELD_NUMBER: _ClassVar[int]
    MIDS_FIELD_NUMBER: _ClassVar[int]
    send_id: bytes
    mids: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, send_id: _Optional[bytes] = ..., mids: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Get(_message.Message):
    __slots__ = ("recv_id", "after", "max")
    RECV_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    recv_id: bytes
    after: int
    max: int
    def __init__(self, recv_id: _Optional[bytes] = ..., after: _Optional[int] = ..., max: _Optional[int] = ...) -> None: ...

class Sub(_message.Message):
    __slots__ = ("recv_id", "after")
    RECV_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    recv_id: bytes
    after: int
    def __init__(self, recv_id: _Optional[bytes] = ..., after: _Optional[int] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("recv_id", "mids")
    RECV_ID_FIELD_NUMBER: _ClassVar[int]
    MIDS_FIELD_NUMBER: _ClassVar[int]
    recv_id: bytes
    mids: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, recv_id: _Optional[bytes] = ..., mids: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Stock(_message.Message):
    __slots__ = ("recv_id", "keys", "bundle")
    RECV_ID_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    recv_id: bytes
    keys: _containers.RepeatedScalarFieldContainer[bytes]
    bundle: bytes
    def __init__(self, recv_id: _Optional[bytes] = ..., keys: _Optional[_Iterable[bytes]] = ..., bundle: _Optional[bytes] = ...) -> None: ...

class Take(_message.Message):
    __slots__ = ("send_id", "subject", "proof")
    SEND_ID_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    send_id: bytes
    subject: bytes
    proof: Proof
    def __init__(self, send_id: _Optional[bytes] = ..., subject: _Optional[bytes] = ..., proof: _Optional[_Union[Proof, _Mapping[str, object]]] = ...) -> None: ...

class Work(_message.Message):
    __slots__ = ("send_id", "purpose")
    SEND_ID_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    send_id: bytes
    purpose: int
    def __init__(self, send_id: _Optional[bytes] = ..., purpose: _Optional[int] = ...) -> None: ...

class Fwd(_message.Message):
    __slots__ = ("relay", "sealed")
    RELAY_FIELD_NUMBER: _ClassVar[int]
    SEALED_FIELD_NUMBER: _ClassVar[int]
    relay: bytes
    sealed: bytes
    def __init__(self, relay: _Optional[bytes] = ..., sealed: _Optional[bytes] = ...) -> None: ...

class Sealed(_message.Message):
    __slots__ = ("command", "signature")
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    command: bytes
    signature: bytes
    def __init__(self, command: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class Response(_message.Message):
    __slots__ = ("id", "done", "ids", "stored", "messages", "held", "key", "challenge", "forwarded", "refused")
    ID_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    STORED_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    CHALLENGE_FIELD_NUMBER: _ClassVar[int]
    FORWARDED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    id: int
    done: Done
    ids: Ids
    stored: Stored
    messages: Messages
    held: Held
    key: Key
    challenge: Challenge
    forwarded: Forwarded
    refused: Refused
    def __init__(self, id: _Optional[int] = ..., done: _Optional[_Union[Done, _Mapping[str, object]]] = ..., ids: _Optional[_Union[Ids, _Mapping[str, object]]] = ..., stored: _Optional[_Union[Stored, _Mapping[str, object]]] = ..., messages: _Optional[_Union[Messages, _Mapping[str, object]]] = ..., held: _Optional[_Union[Held, _Mapping[str, object]]] = ..., key: _Optional[_Union[Key, _Mapping[str, object]]] = ..., challenge: _Optional[_Union[Challenge, _Mapping[str, object]]] = ..., forwarded: _Optional[_Union[Forwarded, _Mapping[str, object]]] = ..., refused: _Optional[_Union[Refused, _Mapping[str, object]]] = ...) -> None: ...

class Done(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Ids(_message.Message):
    __slots__ = ("recv_id", "send_id", "quota_messages", "quota_bytes", "max_ttl")
    RECV_ID_FIELD_NUMBER: _ClassVar[int]
    SEND_ID_FIELD_NUMBER: _ClassVar[int]
    QUOTA_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    QUOTA_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_TTL_FIELD_NUMBER: _ClassVar[int]
    recv_id: bytes
    send_id: bytes
    quota_messages: int
    quota_bytes: int
    max_ttl: int
    def __init__(self, recv_id: _Optional[bytes] = ..., send_id: _Optional[bytes] = ..., quota_messages: _Optional[int] = ..., quota_bytes: _Optional[int] = ..., max_ttl: _Optional[int] = ...) -> None: ...

class Stored(_message.Message):
    __slots__ = ("seq",)
    SEQ_FIELD_NUMBER: _ClassVar[int]
    seq: int
    def __init__(self, seq: _Optional[int] = ...) -> None: ...

class Message(_message.Message):
    __slots__ = ("seq", "mid", "blob")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    MID_FIELD_NUMBER: _ClassVar[int]
    BLOB_FIELD_NUMBER: _ClassVar[int]
    seq: int
    mid: bytes
    blob: bytes
    def __init__(self, seq: _Optional[int] = ..., mid: _Optional[bytes] = ..., blob: _Optional[bytes] = ...) -> None: ...

class Messages(_message.Message):
    __slots__ = ("messages", "more")
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[Message]
    more: bool
    def __init__(self, messages: _Optional[_Iterable[_Union[Message, _Mapping[str, object]]]] = ..., more: bool = ...) -> None: ...

class Held(_message.Message):
    __slots__ = ("mids",)
    MIDS_FIELD_NUMBER: _ClassVar[int]
    mids: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, mids: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Key(_message.Message):
    __slots__ = ("bundle", "one_time", "left")
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    ONE_TIME_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    bundle: bytes
    one_time: bytes
    left: int
    def __init__(self, bundle: _Optional[bytes] = ..., one_time: _Optional[bytes] = ..., left: _Optional[int] = ...) -> None: ...

class Challenge(_message.Message):
    __slots__ = ("challenge",)
    CHALLENGE_FIELD_NUMBER: _ClassVar[int]
    challenge: bytes
    def __init__(self, challenge: _Optional[bytes] = ...) -> None: ...

class Forwarded(_message.Message):
    __slots__ = ("sealed", "hello")
    SEALED_FIELD_NUMBER: _ClassVar[int]
    HELLO_FIELD_NUMBER: _ClassVar[int]
    sealed: bytes
    hello: Hello
    def __init__(self, sealed: _Optional[bytes] = ..., hello: _Optional[_Union[Hello, _Mapping[str, object]]] = ...) -> None: ...

class Refused(_message.Message):
    __slots__ = ("reason", "retry_after")
    REASON_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    reason: int
    retry_after: int
    def __init__(self, reason: _Optional[int] = ..., retry_after: _Optional[int] = ...) -> None: ...
