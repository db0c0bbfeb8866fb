"""`covey chat`: a conversation on a plain terminal. What arrives is printed above the line that is being typed.

Owns: the two threads (one reads the keyboard, one follows the node) and the redrawing of the prompt.
Spec: docs/users.md. Never touches: HTTP itself.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from covey_node.cli.client import Node, NodeGone, path_of
from covey_node.cli.exits import CliError, ExitCode
from covey_node.cli.messages import LOOK_SECONDS, lines_of, reached, state_words
from covey_node.cli.output import Run
from covey_node.cli.text import groups, harmless

_HELP = (
    "type a line to send it; Ctrl-D or /quit leaves",
    "/history [N]   the last N messages        /verify   the safety number",
    "/reply ID TEXT, /edit ID TEXT, /delete ID, /react ID EMOJI   act on a message",
    "//text         send a line that begins with a slash",
)
_TOLD = ("stored", "delivered", "read", "failed", "expired")
WAKE_SECONDS = 0.5  # between two tries to wake the keyboard's thread when the node has gone
_CLEAR = "\r\x1b[K"


def chat(run: Run) -> int:
    """`covey chat CONTACT`: returns when the user leaves or the node stops."""
    node = Node.at(run.home)
    contact = node.ask("GET", path_of("contacts", run.options.contact))
    return Conversation(run, node, contact).run()


class Conversation:
    """One open conversation."""

    def __init__(self, run: Run, node: Node, contact: dict[str, Any]) -> None:
        self._run = run
        self._node = node
        self._contact = contact
        self._alias = harmless(contact["alias"])
        self._interactive = sys.stdin.isatty() and sys.stdout.isatty() and not run.out.as_json
        self._screen = threading.Lock()
        self._sending = threading.Lock()  # held until we know the id: its events may come before its answer
        self._typing = False
        self._shown: dict[str, tuple[object, ...]] = {}  # what was shown of each message last
        self._ours: dict[str, str] = {}  # our messages of this conversation, and what was said about each
        self._gone: CliError | None = None
        self._left = threading.Event()

    def run(self) -> int:
        """Show the tail, then read lines until the end of input."""
        following = threading.Event()
        threading.Thread(target=self._follow, args=(following,), daemon=True).start()
        following.wait()
        if self._gone is not None:
            raise self._gone
        try:
            self._show_tail(self._run.options.limit)
            if self._interactive:
                self._say([self._run.out.style(f"{self._alias}, path {self._contact['path']}; /help helps", "dim")])
            self._read()
        except (KeyboardInterrupt, EOFError):
            self._left.set()
            if self._interactive:
                print()
        if self._gone is not None:
            raise self._gone
        return ExitCode.OK

    # --- the keyboard

    def _read(self) -> None:
        last: str | None = None
        for line in self._lines():
            text = line.rstrip("\r\n")
            if text == "/quit":
                return
            try:
                last = self._do(text) or last
            except NodeGone:
                raise
            except CliError as exc:
                self._complain(exc)
        if last is not None:  # input was piped in: stay until it is known how far the last line got
            path = path_of("messages", last)
            self._tell_status(
                self._node.wait(path, lambda view: reached(view["status"], "delivered"), seconds=LOOK_SECONDS)
            )

    def _lines(self) -> Iterator[str]:
        if not self._interactive:
            yield from sys.stdin
            return
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401, PLC0415 - line editing and history for input()
        while True:
            self._typing = True
            try:
                line = input(self._prompt)
            finally:
                self._typing = False
            yield line

    def _do(self, text: str) -> str | None:
        """Carry out one line; return the id of the message that it sent."""
        if not text.strip():
            return None
        if not text.startswith("/"):
            return self._send(text)
        if text.startswith("//"):
            return self._send(text[1:])
        word, _, rest = text.partition(" ")
        target, _, more = rest.strip().partition(" ")
        if word == "/reply" and more:
            return self._send(more, reply_to=target)
        self._command(word, target, more)
        return None

    def _command(self, word: str, target: str, more: str) -> None:
        message = path_of("messages", target) if target else ""
        commands: dict[str, Callable[[], object]] = {
            "/help": lambda: self._say(_HELP),
            "/history": lambda: self._show_tail(int(target) if target.isdecimal() and int(target) else 20),
            "/verify": self._show_safety_number,
        }
        if message:
            commands["/delete"] = lambda: self._node.ask("DELETE", message)
            commands["/react"] = lambda: self._node.ask("PUT", f"{message}/reaction", {"emoji": more})
            if more:
                commands["/edit"] = lambda: self._node.ask("PATCH", message, {"text": more})
        action = commands.get(word)
        if action is None:
            raise CliError(ExitCode.USAGE, f"{word}: no such command, or something is missing; /help shows them")
        action()

    def _send(self, text: str, *, reply_to: str | None = None) -> str:
        path = path_of("contacts", self._contact["account"], "messages")
        with self._sending:
            view = self._node.ask("POST", path, {"text": text, "reply_to": reply_to})
            self._shown[view["id"]] = _looks(view)
            self._ours[view["id"]] = ""
        return str(view["id"])

    # --- the node

    def _follow(self, following: threading.Event) -> None:
        try:
            for number, kind, data in self._node.follow(kinds="message,status,contact"):
                if kind == "open":
                    following.set()
                elif self._run.out.as_json:
                    if self._is_ours(data):
                        self._run.out.show({"id": number, "kind": kind, "data": data}, ())
                elif kind == "gap":
                    self._say([self._run.out.style("(some events were missed; /history shows all)", "dim")])
                elif kind in {"message", "status"} and self._is_ours(data):
                    self._take(data)
        except CliError as exc:
            self._gone = exc
            following.set()
            # A real signal wakes the main thread out of input(); again, because one just before its select() is lost.
            while self._typing and not self._left.is_set():
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                self._left.wait(WAKE_SECONDS)

    def _is_ours(self, data: dict[str, Any]) -> bool:
        return self._contact["alias"] in (data.get("contact"), data.get("alias"))

    def _take(self, view: dict[str, Any]) -> None:
        with self._sending:
            new = view["id"] not in self._shown
            changed = self._shown.get(view["id"]) != _looks(view)
            self._shown[view["id"]] = _looks(view)
        if changed:  # theirs, ours from another window, an edit, a reaction
            self._say(lines_of([view], self._now()))
        else:
            self._tell_status(view)
        if new and not view["outgoing"]:
            self._mark_read()

    def _tell_status(self, view: dict[str, Any]) -> None:
        if self._run.out.as_json:
            return
        words = state_words(view, self._run.out, time.time())
        with self._screen:
            if self._ours.get(view["id"]) in {None, words}:
                return  # not of this conversation, or said already
            if view["status"] not in _TOLD and not view["reason"]:
                return
            self._ours[view["id"]] = words
        self._say([f"  {self._run.out.style('[', 'dim')}{words}{self._run.out.style(']', 'dim')}  {view['id'][:8]}"])

    def _mark_read(self) -> None:
        self._node.ask("POST", path_of("contacts", self._contact["account"], "read"))

    # --- the screen

    @property
    def _prompt(self) -> str:
        return "> "

    def _now(self) -> Run:
        return Run(self._run.options, self._run.home, self._run.out, time.time())

    def _show_tail(self, limit: int) -> None:
        path = f"{path_of('contacts', self._contact['account'], 'messages')}?limit={limit}"
        messages = self._node.ask("GET", path)["messages"]
        with self._sending:
            self._shown.update((view["id"], _looks(view)) for view in messages)
        if self._run.out.as_json:
            self._run.out.show({"messages": messages}, ())
        elif messages:
            self._say(lines_of(messages, self._now()))
        self._mark_read()

    def _show_safety_number(self) -> None:
        view = self._node.ask("GET", path_of("contacts", self._contact["account"], "verification"))
        self._say([*groups(view["safety_number"]), "verified" if view["verified"] else "not verified"])

    def _complain(self, error: CliError) -> None:
        if self._run.out.as_json:
            self._run.out.fail(error)
        else:
            self._say([self._run.out.style(f"! {harmless(str(error))}", "red")])

    def _say(self, lines: tuple[str, ...] | list[str]) -> None:
        """Print lines, above what is being typed."""
        with self._screen:
            if not (self._interactive and self._typing):
                print("\n".join(lines), flush=True)
                return
            sys.stdout.write(_CLEAR + "\n".join(lines) + "\n" + self._prompt + _typed())
            sys.stdout.flush()


def _looks(view: dict[str, Any]) -> tuple[object, ...]:
    """Return what of a message, beside its status, is worth showing again when it changes."""
    reactions = tuple((one["author"], one["emoji"]) for one in view["reactions"])
    return view["text"], view["deleted"], reactions


def _typed() -> str:
    """Return what stands in the line that readline edits."""
    readline = sys.modules.get("readline")
    return readline.get_line_buffer() if readline is not None else ""
