"""The search for an answer to a relay's challenge."""

import pytest

from covey_core.errors import ProtocolViolation
from covey_core.wire.mailbox import Purpose, WorkProof
from covey_core.wire.mailbox_proof import Task, encode_task, work_fits
from covey_node import limits
from covey_node.protocol.work import TooMuchWork, WorkSearch

SUBJECT = b"s" * 16


def challenge(bits: int, purpose: Purpose = Purpose.PUT) -> bytes:
    return encode_task(Task(purpose, bits, 1_900_000_000, b"r" * 16, b"m" * 32))


def solve(search: WorkSearch) -> WorkProof:
    while (found := search.step()) is None:
        assert not search.hopeless
    return found


@pytest.mark.parametrize("bits", [0, 1, 12, 16])
def test_what_is_found_fits_the_challenge_and_its_subject(bits: int) -> None:
    found = solve(WorkSearch(challenge(bits), subject=SUBJECT, purpose=Purpose.PUT))
    assert found.challenge == challenge(bits)
    assert work_fits(found.challenge, subject=SUBJECT, answer=found.answer, bits=bits)


def test_a_search_goes_on_where_its_last_step_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WORK_STEP_TRIES", 100)
    search = WorkSearch(challenge(12), subject=SUBJECT, purpose=Purpose.PUT)
    found = solve(search)
    assert search.tried > 100
    assert search.tried - 100 <= found.answer < search.tried
    assert found == solve(WorkSearch(challenge(12), subject=SUBJECT, purpose=Purpose.PUT))


def test_a_relay_cannot_have_us_work_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TooMuchWork):
        WorkSearch(challenge(25), subject=SUBJECT, purpose=Purpose.PUT)
    with pytest.raises(ProtocolViolation):
        WorkSearch(challenge(1, Purpose.TAKE), subject=SUBJECT, purpose=Purpose.PUT)
    with pytest.raises(ProtocolViolation):
        WorkSearch(b"short", subject=SUBJECT, purpose=Purpose.PUT)
    monkeypatch.setattr(limits, "WORK_STEP_TRIES", 1)
    monkeypatch.setattr(limits, "WORK_TRIES_FACTOR", 0)
    search = WorkSearch(challenge(24), subject=SUBJECT, purpose=Purpose.PUT)
    assert not search.hopeless
    assert search.step() is None
    assert search.hopeless
