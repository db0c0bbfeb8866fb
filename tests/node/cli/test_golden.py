"""What people see, letter by letter. Write anew with COVEY_TEST_GOLDEN=write and look at the difference."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from covey_node.cli.main import main
from covey_node.service.port import CopiesView, PathKind, ReactionView, Status
from tests.node.api.fake_port import NOW, FakePort, a_message, a_why
from tests.node.api.serving import Served, serving

GOLDEN = Path(__file__).parent / "golden"
AN_HOUR_LATER = NOW + 3600


@pytest.fixture(scope="module")
def talking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("golden"), address="unix") as served:
        fill(served.port)
        yield served


def fill(port: FakePort) -> None:
    said = [
        a_message(1, text="hello bob", status=Status.READ, path=PathKind.PUBLIC, reason=None),
        a_message(2, outgoing=False, text="hi!\nhow are you?", status=Status.RECEIVED, reason=None),
        a_message(3, text="fine", status=Status.DELIVERED, path=PathKind.RELAYED, reason=None, edited=True),
        a_message(4, outgoing=False, text="日本語 and emoji 👍", status=Status.RECEIVED, reason=None),
        a_message(5, text="see you", reason="bob is not online", attempts=3, next_attempt_at=AN_HOUR_LATER + 42),
        a_message(6, text="too late", status=Status.EXPIRED, reason="not delivered within 30 days"),
        a_message(7, outgoing=False, text=None, deleted=True, status=Status.RECEIVED, reason=None),
        a_message(8, kind="notice", outgoing=False, text="bob has a new device", status=Status.RECEIVED, reason=None),
        a_message(9, text="gone soon", status=Status.SENT, reason=None, expires_at=AN_HOUR_LATER + 7200),
        a_message(10, text="later", status=Status.STORED, reason="club: connection refused", copies=CopiesView(2, 3)),
    ]
    said[2] = replace(said[2], reply_to=said[1].id, reactions=(ReactionView("bob", "👍"), ReactionView("me", "❤️")))
    said[8] = replace(said[8], reply_to="f" * 32)
    port.texts = {view.id: view for view in said}
    port.whys = {said[9].id: a_why(said[9])}
    port.people["bob"] = replace(port.people["bob"], last_seen=NOW + 3480)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("status", "status"),
        ("mailbox", "mailbox"),
        ("mailbox_move", "mailbox move club"),
        ("profile", "profile publish"),
        ("doctor", "doctor"),
        ("doctor_bob", "doctor bob"),
        ("doctor_carol", "doctor carol"),
        ("status_why", "status --why 50000000"),
        ("status_why_stored", "status --why a0000000"),
        ("contacts", "contacts"),
        ("contacts_all", "contacts --all"),
        ("requests", "requests"),
        ("history", "history bob"),
        ("verify", "verify carol"),
        ("invite", "invite --for frank"),
    ],
)
def test_the_output_is_as_it_was(
    talking: Served, name: str, words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COVEY_HOME", str(talking.home))
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    try:
        assert main(words.split(), clock=lambda: AN_HOUR_LATER) == (7 if name == "doctor_carol" else 0)
    finally:
        monkeypatch.undo()
        time.tzset()
    shown = capsys.readouterr().out
    golden = GOLDEN / f"{name}.txt"
    if os.environ.get("COVEY_TEST_GOLDEN") == "write":
        golden.write_text(shown, "utf-8")
    assert shown == golden.read_text("utf-8")
