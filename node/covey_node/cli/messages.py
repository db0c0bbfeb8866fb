"""Commands about messages: send, history, react, edit, delete.

Owns: how a message and its status are shown. Spec: docs/users.md. Never touches: HTTP itself.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from covey_node.cli.client import Node, path_of
from covey_node.cli.exits import CliError, ExitCode
from covey_node.cli.output import Output, Run
from covey_node.cli.text import ago, clock, duration, harmless, indented, width

LOOK_SECONDS = 5.0  # how long `send` looks for the delivery when nobody asked it to wait
WAIT_SECONDS = 60.0  # how long `send --wait` waits
_RANK = {"queued": 0, "sent": 1, "stored": 2, "delivered": 3, "read": 4}
_QUOTE = 40  # characters of the message that a reply answers


def send(run: Run) -> int:
    """`covey send CONTACT TEXT`."""
    options = run.options
    node = Node.at(run.home)
    body = {
        "text": text_of(options.text),
        "reply_to": options.reply_to,
        "disappear_seconds": options.disappear,
    }
    view = node.ask("POST", path_of("contacts", options.contact, "messages"), body)
    wanted = options.wait or "delivered"
    if wanted != "none":
        seconds = options.timeout or (WAIT_SECONDS if options.wait else LOOK_SECONDS)
        path = f"{path_of('messages', view['id'])}?wait_for={wanted}"
        view = node.wait(path, lambda one: reached(one["status"], wanted), seconds=seconds)
    run.out.show(view, [f"{state_of(view, run)}  {view['id'][:8]}  to {harmless(view['contact'])}"])
    if view["status"] in {"failed", "expired"}:
        return ExitCode.REFUSED
    if options.wait in {"sent", "stored", "delivered"} and not reached(view["status"], options.wait):
        return ExitCode.TIMEOUT
    return ExitCode.OK


def history(run: Run) -> int:
    """`covey history CONTACT`."""
    options = run.options
    node, contact = Node.at(run.home), options.contact
    query = urlencode({"limit": options.limit, **({"before": options.before} if options.before else {})})
    answer = node.ask("GET", f"{path_of('contacts', contact, 'messages')}?{query}")
    if options.mark_read:
        node.ask("POST", path_of("contacts", contact, "read"))
    messages = answer["messages"]
    run.out.show(answer, lines_of(messages, run) if messages else ["no messages"])
    return ExitCode.OK


def react(run: Run) -> int:
    """`covey react ID [EMOJI]`."""
    options = run.options
    Node.at(run.home).ask("PUT", path_of("messages", options.message, "reaction"), {"emoji": options.emoji})
    run.out.show({"message": options.message, "emoji": options.emoji}, ["done"])
    return ExitCode.OK


def edit(run: Run) -> int:
    """`covey edit ID TEXT`."""
    path = path_of("messages", run.options.message)
    view = Node.at(run.home).ask("PATCH", path, {"text": text_of(run.options.text)})
    run.out.show(view, lines_of([view], run))
    return ExitCode.OK


def delete(run: Run) -> int:
    """`covey delete ID`."""
    Node.at(run.home).ask("DELETE", path_of("messages", run.options.message))
    run.out.show({"deleted": run.options.message}, ["deleted on this side; the other side is told"])
    return ExitCode.OK


def text_of(words: Sequence[str]) -> str:
    """Return the text of the command line, from standard input when it is `-`; without the last line break."""
    if list(words) != ["-"]:
        return " ".join(words)
    try:
        text = sys.stdin.read()
    except UnicodeDecodeError as exc:
        raise CliError(ExitCode.USAGE, "standard input is not UTF-8 text") from exc
    return text.removesuffix("\n")


def lines_of(messages: Sequence[Mapping[str, Any]], run: Run) -> list[str]:
    """Return messages as lines: time, id, who, text, and how far they got: one that we received is delivered."""
    column = max(width(_who(view)) for view in messages)
    known = {view["id"]: view for view in messages}
    return [line for view in messages for line in _lines(view, known, column, run)]


def _lines(view: Mapping[str, Any], known: Mapping[str, Mapping[str, Any]], column: int, run: Run) -> list[str]:
    who = _who(view)
    head = f"{clock(view['sent_at'], run.now)}  {view['id'][:8]}  {who}{' ' * (column - width(who))}  "
    margin = width(head)
    quote = ""
    if view["reply_to"]:
        quote = run.out.style(_quote(known.get(view["reply_to"])), "dim") + "\n" + " " * margin
    text = run.out.style("(deleted)", "dim") if view["deleted"] else indented(view["text"] or "", margin)
    notes = ["edited"] if view["edited"] and not view["deleted"] else []
    notes += [state_of(view, run)] if view["outgoing"] or view["kind"] == "text" else []
    notes += [f"disappears {ago(view['expires_at'], run.now)}"] if view["expires_at"] else []
    lines = [head + quote + text + (f"  [{', '.join(notes)}]" if notes else "")]
    if view["reactions"]:
        marks = " ".join(f"{harmless(one['emoji'])} {harmless(one['author'])}" for one in view["reactions"])
        lines.append(" " * margin + marks)
    return lines


def _who(view: Mapping[str, Any]) -> str:
    if view["kind"] != "text":
        return "*"
    return "me" if view["outgoing"] else harmless(view["contact"])


def _quote(target: Mapping[str, Any] | None) -> str:
    if target is None:
        return "> an earlier message"
    text = harmless(target["text"] or "(deleted)")
    return f"> {text[:_QUOTE]}" + ("..." if len(text) > _QUOTE else "")


def reached(status: str, wanted: str) -> bool:
    """Return whether a message is as far as `wanted`, or will never be."""
    return status not in _RANK or _RANK[status] >= _RANK[wanted]


def state_of(view: Mapping[str, Any], run: Run) -> str:
    """Return how far a message got, in words: `delivered (relayed)`, `queued: bob is not online, ...`."""
    return state_words(view, run.out, run.now)


def state_words(view: Mapping[str, Any], out: Output, now: float) -> str:
    """Return the status with the path it took, or with the reason and the next attempt."""
    status = "delivered" if view["status"] == "received" else str(view["status"])
    colour = {"delivered": "green", "read": "green", "failed": "red", "expired": "red", "queued": "yellow"}.get(status)
    words = out.style(status, colour) if colour else status
    if status == "stored" and view["copies"] is not None:
        words += f" {view['copies']['stored']}/{view['copies']['of']}"
    if status in {"delivered", "read"}:
        return words + (f" ({view['path']})" if view["path"] not in {None, "none"} else "")
    if view["reason"]:
        words += f": {harmless(view['reason'])}"
    if status == "queued" and view["next_attempt_at"] is not None:
        wait = view["next_attempt_at"] - now
        words += f", next attempt in {duration(max(wait, 1))}" if wait > 0 else ", being tried now"
    return words
