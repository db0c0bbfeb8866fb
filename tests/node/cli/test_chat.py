"""`covey chat`: piped, and on a terminal of its own."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace

import trio

from covey_node.service.port import ReactionView, Status
from tests.node.api.fake_port import a_message
from tests.node.api.serving import DEADLINE_SECONDS, Served
from tests.node.cli.conftest import Covey, environment


class Terminal:
    """A `covey` process on a pseudo-terminal: what it shows can be waited for."""

    def __init__(self, process: subprocess.Popen[bytes], screen: int) -> None:
        self.process = process
        self.screen = screen
        self.shown = b""

    def type(self, keys: str) -> None:
        os.write(self.screen, keys.encode())

    def until(self, text: str) -> bytes:
        """Wait until the text is shown; return all that was shown up to it, and forget that."""
        while text.encode() not in self.shown:
            ready, _, _ = select.select([self.screen], [], [], DEADLINE_SECONDS)
            assert ready, self.shown
            try:
                data = os.read(self.screen, 65536)
            except OSError:  # the other side closed
                data = b""
            assert data, self.shown
            self.shown += data
        before, _, self.shown = self.shown.partition(text.encode())
        return before

    def drain(self, seconds: float) -> None:
        """Take what is shown within some time, and stop when nothing comes."""
        while select.select([self.screen], [], [], seconds)[0]:
            try:
                data = os.read(self.screen, 65536)
            except OSError:
                return
            self.shown += data

    def end(self) -> int:
        """Wait for the process; return its exit code."""
        while True:
            try:
                if not os.read(self.screen, 65536):
                    break
            except OSError:
                break
        return self.process.wait(DEADLINE_SECONDS)


@contextmanager
def chatting(served: Served, *words: str) -> Iterator[Terminal]:
    screen, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "covey_node.cli.main", *(words or ("chat", "bob"))],
        env=environment(served.home),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    try:
        yield Terminal(process, screen)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(DEADLINE_SECONDS)
        os.close(screen)


def test_lines_that_are_piped_in_are_sent_and_the_end_of_input_leaves(served: Served, covey: Covey) -> None:
    ended = covey("chat", "bob", stdin="one\n\n//two\n")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert [view.text for view in served.port.texts.values()] == ["one", "/two"]
    assert "[delivered (relayed)]" in ended.stdout
    assert served.port.people["bob"].unread == 0


def test_chat_prints_json_lines_when_asked(served: Served, covey: Covey) -> None:
    served.within(lambda: served.port.receive("bob", "before"))
    ended = covey("chat", "bob", "--json", stdin="one\n")
    values = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [view["text"] for view in values[0]["messages"]] == ["before"]
    assert {value["kind"] for value in values[1:]} <= {"message", "status"}


def test_an_unknown_contact_ends_chat_at_once(covey: Covey) -> None:
    ended = covey("chat", "nobody")
    assert (ended.returncode, ended.stdout) == (4, "")


def test_commands_act_on_messages_and_mistakes_are_told_without_leaving(served: Served, covey: Covey) -> None:
    served.within(lambda: served.port.receive("bob", "hi"))
    first = next(iter(served.port.texts))
    second, third = (a_message(number).id for number in (2, 3))
    lines = [
        f"/react {first} x",
        f"/reply {first} yes",
        f"/edit {second} no",
        "gone",
        f"/delete {third}",
        "/verify",
        "/frobnicate",
        f"/edit {first} mine?",
        "/help",
        "/quit",
        "never sent",
    ]
    ended = covey("chat", "bob", stdin="\n".join(lines) + "\n")
    assert ended.returncode == 0
    texts = served.port.texts
    assert [one.emoji for one in texts[first].reactions] == ["x"]
    assert (texts[second].text, texts[second].reply_to) == ("no", first)
    assert texts[third].deleted
    assert len(texts) == 3
    for words in ("01234 56789", "! /frobnicate: no such command", "! only messages of yours", "/reply ID TEXT"):
        assert words in ended.stdout


def test_what_arrives_is_shown_above_the_line_that_is_being_typed(served: Served) -> None:
    served.within(lambda: served.port.receive("bob", "from before"))
    with chatting(served) as terminal:
        terminal.until("from before")
        terminal.until("> ")
        terminal.type("half a li")
        terminal.until("half a li")
        served.within(lambda: served.port.receive("bob", "hello \x1b[2J\x1b]0;pwned\x07"))
        before = terminal.until("hello ")
        assert b"\r\x1b[K" in before  # the typed line is cleared first
        shown = terminal.until("> half a li")
        assert b"\\x1b[2J\\x1b]0;pwned\\x07" in shown
        assert b"\x1b[2J" not in shown
        assert b"\x1b]0" not in shown
        terminal.type("ne\n")
        terminal.until("delivered")
        assert [view.text for view in served.port.texts.values() if view.outgoing] == ["half a line"]
        terminal.type("\x04")
        assert terminal.end() == 0
    assert served.port.people["bob"].unread == 0


def test_the_statuses_of_what_was_sent_follow(served: Served) -> None:
    served.port.delivers = None
    with chatting(served) as terminal:
        terminal.until("> ")
        terminal.type("hello\n")
        terminal.until("queued")
        terminal.until("bob is not online")
        (sent,) = served.port.texts
        served.within(lambda: served.port.advance(sent, Status.QUEUED, reason="bob's relay is gone"))
        terminal.until("bob's relay is gone")
        served.within(lambda: served.port.advance(sent, Status.DELIVERED, reason=None))
        terminal.until("delivered")
        served.within(lambda: served.port.advance(sent, Status.READ, reason=None))
        terminal.until("read")
        terminal.type("/quit\n")
        assert terminal.end() == 0


def test_events_that_overtake_the_answer_are_still_known_as_ours(served: Served) -> None:
    served.port.hold = trio.Event()
    with chatting(served) as terminal:
        terminal.until("> ")
        terminal.type("hello\n")
        terminal.until("hello")
        terminal.drain(0.5)
        served.within(served.port.hold.set)
        assert b"me" not in terminal.until("delivered")
        assert [view.text for view in served.port.texts.values()] == ["hello"]


def test_an_edit_and_a_reaction_are_shown_once_and_other_changes_are_not(served: Served) -> None:
    view = served.within(lambda: served.port.receive("bob", "helo"))
    with chatting(served) as terminal:
        terminal.until("helo")
        terminal.until("> ")

        def change(**changes: object) -> None:
            served.port.texts[view.id] = replace(served.port.texts[view.id], **changes)
            served.port.emit("message", asdict(served.port.texts[view.id]))

        served.within(lambda: change(text="hello", edited=True))
        terminal.until("hello  [edited, ")
        served.within(lambda: change(attempts=1))
        served.within(lambda: change(reactions=(ReactionView("bob", "+1"),)))
        assert b"hello" in terminal.until("+1 bob")
        served.within(lambda: change(text=None, deleted=True))
        assert terminal.until("(deleted)").count(b"hello") == 0


def test_messages_of_others_are_not_shown(served: Served) -> None:
    with chatting(served) as terminal:
        terminal.until("> ")
        served.within(lambda: served.port.receive("carol", "for another window"))
        served.within(lambda: served.port.receive("bob", "for this one"))
        assert b"another" not in terminal.until("for this one")


def test_ctrl_c_leaves_cleanly(served: Served) -> None:
    with chatting(served) as terminal:
        terminal.until("> ")
        terminal.type("half a line")
        terminal.until("half a line")
        while terminal.process.poll() is None:  # readline loses a signal that comes just before it waits
            terminal.process.send_signal(signal.SIGINT)
            terminal.drain(1)
        assert terminal.end() == 0
        assert b"Traceback" not in terminal.shown


def test_a_node_that_stops_ends_the_chat_and_says_so(served: Served) -> None:
    with chatting(served) as terminal:
        terminal.until("> ")
        served.within(served.shutdown.set)
        terminal.until("covey: the node stopped")
        assert terminal.end() == 3


def test_a_cut_stream_is_taken_up_again_without_loss(served: Served) -> None:
    with chatting(served) as terminal:
        terminal.until("> ")

        def cut() -> None:
            for channel in tuple(served.port.subscribers):
                channel.close()

        served.within(lambda: served.port.receive("bob", "first"))
        terminal.until("first")
        served.within(cut)
        served.within(served.port.subscribers.clear)
        view = replace(a_message(50), outgoing=False, status=Status.RECEIVED, text="while away")
        served.within(lambda: served.port.emit("message", asdict(view)))
        trio.from_thread.run(served.port.until_subscribers, 1, trio_token=served.token)
        terminal.until("while away")


def test_no_colours_against_no_color(served: Served) -> None:
    screen, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "covey_node.cli.main", "send", "bob", "hi"],
        env=environment(served.home, NO_COLOR="1"),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    ) as process:
        os.close(terminal)
        shown = Terminal(process, screen).until("to bob")
        assert b"\x1b" not in shown
        os.close(screen)
