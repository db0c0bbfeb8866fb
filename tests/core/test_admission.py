import dataclasses
import hashlib
import hmac
import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey_core.admission import FRAME_MAX_BYTES, Admitted, Dialer, Listener, Refusal, Refused
from covey_core.errors import ProtocolViolation
from covey_core.peers import peer_id_bytes, peer_id_of

from .networks import KEY, NETWORK, OLD_KEY

ANN = peer_id_of(bytes(range(32)))
BEN = peer_id_of(bytes(range(1, 33)))
EVE = peer_id_of(bytes(range(2, 34)))
OTHER_KEY = bytes(range(7, 39))
VECTORS = Path(__file__).parents[1] / "vectors"


def with_keys(key, previous=None):
    return dataclasses.replace(NETWORK, key=key, previous_key=previous)


def counting(start):
    counter = itertools.count(start)
    return lambda size: bytes([next(counter) % 256]) * size


def run(dialer, listener):
    """Let the machines talk; return (dialer's outcome or None, listener's outcome)."""
    decided = listener.decide(dialer.answer(listener.challenge(dialer.hello())))
    return (dialer.finish(decided.frame) if isinstance(decided, Admitted) else None), decided


def pair(dialer_network, listener_network):
    return Dialer(dialer_network, me=ANN, peer=BEN), Listener(listener_network, me=BEN, peer=ANN)


def test_two_members_admit_each_other():
    dialed, listened = run(*pair(NETWORK, NETWORK))
    assert dialed == Admitted(None, by_previous_key=False)
    assert isinstance(listened, Admitted)
    assert not listened.by_previous_key


@pytest.mark.parametrize(
    ("dialer", "listener", "by_previous"),
    [
        ((KEY, OLD_KEY), (KEY, OLD_KEY), (False, False)),
        ((KEY, OLD_KEY), (KEY, None), (False, False)),
        ((KEY, None), (KEY, OLD_KEY), (False, False)),
        ((OLD_KEY, None), (KEY, OLD_KEY), (False, True)),  # the listener sees who has not changed yet
        ((KEY, OLD_KEY), (OLD_KEY, None), (True, False)),
        ((OLD_KEY, None), (OLD_KEY, None), (False, False)),
    ],
)
def test_a_rotation_has_no_moment_without_admission(dialer, listener, by_previous):
    dialed, listened = run(*pair(with_keys(*dialer), with_keys(*listener)))
    assert isinstance(dialed, Admitted)
    assert isinstance(listened, Admitted)
    assert (dialed.by_previous_key, listened.by_previous_key) == by_previous


@pytest.mark.parametrize(
    ("dialer", "listener"),
    [((OTHER_KEY, None), (KEY, OLD_KEY)), ((KEY, OLD_KEY), (OTHER_KEY, None)), ((OLD_KEY, None), (KEY, None))],
)
def test_a_stranger_gets_no_proof_out_of_a_listener(dialer, listener):
    dialed, listened = run(*pair(with_keys(*dialer), with_keys(*listener)))
    assert listened == Refused(Refusal.OTHER_KEY)
    assert dialed is None


def test_a_listener_without_the_key_is_refused_by_the_dialer():
    dialer = Dialer(NETWORK, me=ANN, peer=EVE)
    dialer.answer(Listener(with_keys(OTHER_KEY), me=EVE, peer=ANN).challenge(dialer.hello()))
    assert dialer.finish(b"\x04" + bytes(32)) == Refused(Refusal.OTHER_KEY)


def test_the_dialers_own_proof_sent_back_is_no_proof_of_the_listener():
    dialer = Dialer(NETWORK, me=ANN, peer=EVE)
    answer = dialer.answer(b"\x02" + dialer.hello()[1:])  # its own nonce as the challenge, too
    for proof in (answer[1:33], answer[33:]):
        assert dialer.finish(b"\x04" + proof) == Refused(Refusal.OTHER_KEY)


def test_a_man_in_the_middle_cannot_pass_proofs_on():
    # Eve has no key. Ann dials Eve, Eve dials Ben as herself and passes every frame on.
    ann, ben = Dialer(NETWORK, me=ANN, peer=EVE), Listener(NETWORK, me=BEN, peer=EVE)
    assert run(ann, ben) == (None, Refused(Refusal.OTHER_KEY))


def test_a_man_in_the_middle_cannot_use_a_listener_to_answer_another():
    # Eve has no key and is dialled by Ann; she dials Ann at the same time, hoping that Ann answers herself.
    dialing, listening = Dialer(NETWORK, me=ANN, peer=EVE), Listener(NETWORK, me=ANN, peer=EVE)
    assert run(dialing, listening) == (None, Refused(Refusal.OTHER_KEY))


def test_a_recorded_exchange_does_not_admit_a_second_time():
    dialer, listener = pair(NETWORK, NETWORK)
    hello = dialer.hello()
    answer = dialer.answer(listener.challenge(hello))
    again = Listener(NETWORK, me=BEN, peer=ANN)
    again.challenge(hello)
    assert again.decide(answer) == Refused(Refusal.OTHER_KEY)

    confirm = listener.decide(answer)
    assert isinstance(confirm, Admitted)
    assert confirm.frame is not None
    later = Dialer(NETWORK, me=ANN, peer=BEN)
    later.answer(b"\x02" + listener._nonce)
    assert later.finish(confirm.frame) == Refused(Refusal.OTHER_KEY)


@pytest.mark.parametrize("change", [{"id": bytes(16)}, {"key": OTHER_KEY}])
def test_a_proof_for_one_network_is_none_for_another(change):
    assert run(*pair(NETWORK, dataclasses.replace(NETWORK, **change))) == (None, Refused(Refusal.OTHER_KEY))


def test_proofs_bind_both_peers():
    for dialer_says, listener_says in (((EVE, BEN), (ANN, BEN)), ((ANN, EVE), (ANN, BEN)), ((BEN, ANN), (ANN, BEN))):
        dialer = Dialer(NETWORK, me=dialer_says[0], peer=dialer_says[1])
        listener = Listener(NETWORK, me=listener_says[1], peer=listener_says[0])
        assert run(dialer, listener) == (None, Refused(Refusal.OTHER_KEY))


def test_the_answer_looks_the_same_with_and_without_a_rotation():
    listener = Listener(NETWORK, me=BEN, peer=ANN)
    sizes = set()
    for network in (NETWORK, with_keys(KEY, OLD_KEY)):
        dialer = Dialer(network, me=ANN, peer=BEN)
        answer = dialer.answer(b"\x02" + listener._nonce)
        assert answer[1:33] != answer[33:]
        assert answer[33:] != bytes(32)
        sizes.add(len(answer))
    assert sizes == {65}


def test_frames_have_the_published_bytes():
    vector = json.loads((VECTORS / "admission.json").read_text())
    dialer = Dialer(NETWORK, me=ANN, peer=BEN, rng=counting(0xD0))
    listener = Listener(NETWORK, me=BEN, peer=ANN, rng=counting(0xA0))
    frames = [dialer.hello()]
    frames.append(listener.challenge(frames[0]))
    frames.append(dialer.answer(frames[1]))
    decided = listener.decide(frames[2])
    assert isinstance(decided, Admitted)
    assert decided.frame is not None
    frames.append(decided.frame)
    assert {
        "network_id": NETWORK.id.hex(), "key": KEY.hex(), "dialer": ANN, "listener": BEN,
        "hello": frames[0].hex(), "challenge": frames[1].hex(), "answer": frames[2].hex(), "confirm": frames[3].hex(),
    } == vector  # fmt: skip
    # The same once more from the text of the spec, without our code.
    ids = b"\x26" + peer_id_bytes(ANN) + b"\x26" + peer_id_bytes(BEN)
    rest = NETWORK.id + ids + b"\xd0" * 32 + b"\xa0" * 32
    assert frames[2][1:33] == hmac.new(KEY, b"covey admit 1\0\x01" + rest, hashlib.sha256).digest()
    assert frames[3][1:] == hmac.new(KEY, b"covey admit 1\0\x02" + rest, hashlib.sha256).digest()
    assert max(len(frame) for frame in frames) < FRAME_MAX_BYTES


@given(st.binary(max_size=100))
def test_any_frame_is_taken_or_a_violation_and_none_but_the_right_one_admits(frame):
    for machine, step in (
        (Listener(NETWORK, me=BEN, peer=ANN), "challenge"),
        (Dialer(NETWORK, me=ANN, peer=BEN), "answer"),
    ):
        try:
            getattr(machine, step)(frame)
        except ProtocolViolation:
            continue
    dialer, listener = pair(NETWORK, NETWORK)
    dialer.answer(listener.challenge(dialer.hello()))
    for last in (listener.decide, dialer.finish):
        try:
            assert isinstance(last(frame), Refused)
        except ProtocolViolation:
            continue


@given(st.data())
def test_every_changed_bit_on_the_way_ends_in_refusal_or_violation(data):
    dialer, listener = pair(NETWORK, NETWORK)
    target = data.draw(st.integers(0, 3))

    def damaged(index, frame):
        if index != target:
            return frame
        at = data.draw(st.integers(0, (33 if index == 2 else len(frame)) - 1))  # what follows 33 in an answer is noise
        out = bytearray(frame)
        out[at] ^= 1 << data.draw(st.integers(0, 7))
        return bytes(out)

    try:
        answer = dialer.answer(damaged(1, listener.challenge(damaged(0, dialer.hello()))))
        decided = listener.decide(damaged(2, answer))
        if isinstance(decided, Admitted):
            assert target == 3
            assert isinstance(dialer.finish(damaged(3, decided.frame)), Refused)
    except ProtocolViolation:
        return


def test_a_connection_of_a_peer_with_itself_is_refused():
    for machine in (Dialer, Listener):
        with pytest.raises(ProtocolViolation):
            machine(NETWORK, me=ANN, peer=ANN)


def test_a_public_network_has_nothing_to_prove():
    for machine in (Dialer, Listener):
        with pytest.raises(ValueError, match="no key"):
            machine(dataclasses.replace(NETWORK, key=None), me=ANN, peer=BEN)


def test_steps_out_of_order_are_a_mistake_of_the_caller():
    dialer, listener = pair(NETWORK, NETWORK)
    with pytest.raises(RuntimeError):
        dialer.finish(b"\x04" + bytes(32))
    with pytest.raises(RuntimeError):
        listener.decide(b"\x03" + bytes(64))
    challenge = listener.challenge(dialer.hello())
    dialer.answer(challenge)
    with pytest.raises(RuntimeError):
        listener.challenge(dialer.hello())
    with pytest.raises(RuntimeError):
        dialer.answer(challenge)
