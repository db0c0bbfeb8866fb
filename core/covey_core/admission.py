"""Proof that both ends of a connection are members of a private network.

Owns: the two machines of `/covey/<8 hex>/admit/1`, one for the side that opened the connection and one for the other.
Spec: docs/spec/admission.md. Never touches: streams, deadlines (the host gives both sides 5 s), who is a contact.

    dialer                                   listener
    hello()        -- 01 | nonce_d -->       challenge(frame)
    answer(frame)  <-- 02 | nonce_l --
                   -- 03 | proof | proof --> decide(frame): Admitted, with the frame to send, or Refused
    finish(frame)  <-- 04 | proof --
"""

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Final

from covey_core.errors import ProtocolViolation
from covey_core.limits import ADMISSION_NONCE_BYTES
from covey_core.network import Network
from covey_core.peers import PeerId, peer_id_bytes

PROTOCOL_NAME: Final = "admit"
FRAME_MAX_BYTES: Final = 128
"""The longest frame has 65 bytes."""

_CONTEXT: Final = b"covey admit 1\x00"
_PROOF_BYTES: Final = 32
_Rng = Callable[[int], bytes]


class _Frame(IntEnum):
    HELLO = 1
    CHALLENGE = 2
    ANSWER = 3
    CONFIRM = 4


class _Role(IntEnum):
    DIALER = 1
    LISTENER = 2


class Refusal(StrEnum):
    """Why a connection is not admitted."""

    OTHER_KEY = "other_key"


@dataclass(frozen=True, slots=True)
class Admitted:
    """Both keys fit. `frame` is what the listener still has to send; None at the dialer.

    `by_previous_key`: the other side proved the key that a rotation is about to retire.
    """

    frame: bytes | None = field(repr=False)
    by_previous_key: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """The other side did not prove a key of this network: close the connection, and send nothing more."""

    reason: Refusal


@dataclass(frozen=True, slots=True)
class _Transcript:
    """What both sides know of the connection. The PeerIds are those that Noise authenticated, never claimed ones."""

    network_id: bytes
    dialer: bytes
    listener: bytes
    dialer_nonce: bytes
    listener_nonce: bytes

    def proof(self, key: bytes, role: _Role) -> bytes:
        parts = (
            _CONTEXT,
            bytes([role]),
            self.network_id,
            bytes([len(self.dialer)]),
            self.dialer,
            bytes([len(self.listener)]),
            self.listener,
            self.dialer_nonce,
            self.listener_nonce,
        )
        return hmac.digest(key, b"".join(parts), "sha256")


class Dialer:
    """The machine of the side that opened the connection. Its methods are called once each, in their order."""

    def __init__(self, network: Network, *, me: PeerId, peer: PeerId, rng: _Rng = secrets.token_bytes) -> None:
        self._keys = _keys_of(network)
        self._network_id = network.id
        self._ids = _ids(dialer=me, listener=peer)
        self._rng = rng
        self._nonce = rng(ADMISSION_NONCE_BYTES)
        self._transcript: _Transcript | None = None

    def hello(self) -> bytes:
        """Return the first frame."""
        return bytes([_Frame.HELLO]) + self._nonce

    def answer(self, frame: bytes) -> bytes:
        """Take the listener's challenge, return our proofs; `ProtocolViolation` for anything else."""
        if self._transcript is not None:
            raise RuntimeError("a challenge is answered once")
        nonce = _body(frame, _Frame.CHALLENGE, ADMISSION_NONCE_BYTES)
        dialer, listener = self._ids
        self._transcript = _Transcript(self._network_id, dialer, listener, self._nonce, nonce)
        proofs = [self._transcript.proof(key, _Role.DIALER) for key in self._keys]
        if len(proofs) == 1:
            # Noise in the place of a second proof: whether a rotation is under way is not a stranger's business.
            proofs.append(self._rng(_PROOF_BYTES))
        return bytes([_Frame.ANSWER]) + b"".join(proofs)

    def finish(self, frame: bytes) -> Admitted | Refused:
        """Take the listener's proof; `ProtocolViolation` when it is no such frame."""
        if self._transcript is None:
            raise RuntimeError("the challenge was not answered")
        given = _body(frame, _Frame.CONFIRM, _PROOF_BYTES)
        wanted = [self._transcript.proof(key, _Role.LISTENER) for key in self._keys]
        which = _matching(wanted, [given])
        return Refused(Refusal.OTHER_KEY) if which is None else Admitted(None, by_previous_key=which > 0)


class Listener:
    """The machine of the side that accepted the connection. Its methods are called once each, in their order."""

    def __init__(self, network: Network, *, me: PeerId, peer: PeerId, rng: _Rng = secrets.token_bytes) -> None:
        self._keys = _keys_of(network)
        self._network_id = network.id
        self._ids = _ids(dialer=peer, listener=me)
        self._nonce = rng(ADMISSION_NONCE_BYTES)
        self._transcript: _Transcript | None = None

    def challenge(self, frame: bytes) -> bytes:
        """Take the dialer's hello, return our challenge; `ProtocolViolation` for anything else."""
        if self._transcript is not None:
            raise RuntimeError("a hello is challenged once")
        nonce = _body(frame, _Frame.HELLO, ADMISSION_NONCE_BYTES)
        dialer, listener = self._ids
        self._transcript = _Transcript(self._network_id, dialer, listener, nonce, self._nonce)
        return bytes([_Frame.CHALLENGE]) + self._nonce

    def decide(self, frame: bytes) -> Admitted | Refused:
        """Take the dialer's proofs; our own proof is made only when one of them fits, and with the same key.

        Raises `ProtocolViolation` when it is no such frame.
        """
        if self._transcript is None:
            raise RuntimeError("the hello was not challenged")
        body = _body(frame, _Frame.ANSWER, 2 * _PROOF_BYTES)
        given = [body[:_PROOF_BYTES], body[_PROOF_BYTES:]]
        wanted = [self._transcript.proof(key, _Role.DIALER) for key in self._keys]
        which = _matching(wanted, given)
        if which is None:
            return Refused(Refusal.OTHER_KEY)
        proof = self._transcript.proof(self._keys[which], _Role.LISTENER)
        return Admitted(bytes([_Frame.CONFIRM]) + proof, by_previous_key=which > 0)


def _keys_of(network: Network) -> tuple[bytes, ...]:
    if network.key is None:
        raise ValueError("a public network has no key to prove")
    return (network.key,) if network.previous_key is None else (network.key, network.previous_key)


def _ids(*, dialer: PeerId, listener: PeerId) -> tuple[bytes, bytes]:
    if dialer == listener:
        raise ProtocolViolation("a connection of a peer with itself")
    return peer_id_bytes(dialer), peer_id_bytes(listener)


def _body(frame: bytes, kind: _Frame, size: int) -> bytes:
    if len(frame) != 1 + size or frame[0] != kind:
        raise ProtocolViolation(f"an admission frame of {len(frame)} bytes where a {kind.name} was due")
    return frame[1:]


def _matching(wanted: list[bytes], given: list[bytes]) -> int | None:
    # All pairs are compared, so that the time does not tell which key fits; the newest key that fits is used.
    fits = [[hmac.compare_digest(one, other) for other in given] for one in wanted]
    return next((index for index, row in enumerate(fits) if any(row)), None)
