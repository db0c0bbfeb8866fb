"""The soak at a small scale: random kills of relays and nodes. Its judge is tested as well: it can fail."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.soak.judge import Judge, text_of

ROOT = Path(__file__).parent.parent
SECONDS = 280


@pytest.mark.timeout(SECONDS + 20)
def test_mail_between_two_who_are_killed_at_random_is_shown_once_and_known_as_delivered() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.soak", "--messages", "300", "--seconds", "30", "--burst", "40"],
        cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    found = json.loads(done.stdout or "{}")
    assert done.returncode == 0, f"{found}\n{done.stderr[-4000:]}"
    assert found["problems"] == []
    assert found["messages"] == found["shown"] > 0
    assert found["killed"]["relays"] > 0


@pytest.fixture
def judge() -> Judge:
    """Alice wrote two texts; bob has the first, and she knows."""
    judge = Judge("alice", "bob")
    judge.queued("alice", 0)
    judge.queued("alice", 1)
    judge.told("alice", 0, "delivered")
    judge.receiver_has("alice", [text_of("alice", 0)])
    return judge


def test_who_did_everything_right_is_not_accused(judge: Judge) -> None:
    judge.told("alice", 1, "stored")
    judge.sender_has("alice", [(text_of("alice", 0), "read"), (text_of("alice", 1), "delivered")])
    judge.receiver_has("alice", [text_of("alice", 1), text_of("alice", 0)])
    judge.end()
    assert judge.problems == []


def _not_delivered(judge: Judge) -> None:
    judge.told("alice", 1, "delivered")
    judge.receiver_has("alice", [text_of("alice", 0)])


FAULTS: dict[str, Callable[[Judge], None]] = {
    "shown twice": lambda judge: judge.receiver_has("alice", [text_of("alice", 0)] * 2),
    "shown and gone": lambda judge: judge.receiver_has("alice", []),
    "not whole": lambda judge: judge.receiver_has("alice", [text_of("alice", 0), text_of("alice", 1)[:-1]]),
    "never written": lambda judge: judge.receiver_has("alice", [text_of("alice", 0), text_of("alice", 7)]),
    "another's": lambda judge: judge.receiver_has("alice", [text_of("alice", 0), text_of("bob", 0)]),
    "delivered, they say": _not_delivered,
    "a status went back": lambda judge: judge.told("alice", 0, "stored"),
    "went back in the database": lambda judge: judge.sender_has(
        "alice", [(text_of("alice", 0), "sent"), (text_of("alice", 1), "queued")]
    ),
    "failed": lambda judge: judge.told("alice", 1, "failed"),
    "gone at the sender": lambda judge: judge.sender_has("alice", [(text_of("alice", 0), "delivered")]),
    "twice at the sender": lambda judge: judge.sender_has(
        "alice", [(text_of("alice", 0), "delivered")] + [(text_of("alice", 1), "queued")] * 2
    ),
    "lost": lambda judge: judge.end(),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_noticed(judge: Judge, fault: str) -> None:
    FAULTS[fault](judge)
    assert len(judge.problems) == 1, judge.problems


def test_what_was_shown_and_is_not_known_as_delivered_is_noticed(judge: Judge) -> None:
    judge.receiver_has("alice", [text_of("alice", 0), text_of("alice", 1)])
    judge.end()
    assert judge.problems == ["shown but not known as delivered, of alice: 1, the first are [1]"]
