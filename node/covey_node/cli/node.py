"""Commands about the node itself: status, ping, watch.

Owns: how they are shown. Spec: docs/users.md. Never touches: HTTP itself.
"""

from __future__ import annotations

import json
import time
from typing import Any

from covey_node.cli.client import Node, NodeGone, path_of
from covey_node.cli.exits import ExitCode
from covey_node.cli.messages import lines_of
from covey_node.cli.output import Run
from covey_node.cli.text import ago, clock, duration, harmless, reservation, table, way

PAUSE_SECONDS = 1.0  # between two pings


def status(run: Run) -> int:
    """`covey status`, and `covey status --why MESSAGE`."""
    node = Node.at(run.home)
    if run.options.why is not None:
        return _why(run, node)
    view = node.ask("GET", "/v1/status")
    kind = "private" if view["network_private"] else "public"
    record = (
        f"published {ago(view['record_published_at'], run.now)}, at {view['record_holders']} holders"
        if view["record_published_at"] is not None
        else "not published yet"
    )
    listen = [addr.partition("/p2p/")[0] for addr in view["listen"]]  # all of this device: --json tells its PeerId
    facts = [
        ("name", view["name"]),
        ("account", view["account"]),
        ("network", f"{view['network']} ({kind})" if view["network"] else "none; covey join LINK"),
        ("node", f"{view['state']}, version {view['version']}, up {duration(max(0, run.now - view['started_at']))}"),
        ("listens on", listen[0] if listen else "nothing (dials only)"),
        *(("", addr) for addr in listen[1:]),
        ("DHT servers", f"{view['bootstraps_connected']} answer"),
        ("contact record", record),
        ("waiting", f"{view['queued']} queued, {view['unread']} unread, {view['requests']} requests"),
    ]
    lines = [f"{name:<15} {harmless(str(value))}" for name, value in facts]
    if view["relays"]:
        rows = [(one["operator"], one["peer"][-6:], reservation(one, run.now)) for one in view["relays"]]
        lines += ["", *table(("RELAY", "PEER", "STATE"), rows)]
    if view["contacts"]:
        people = [
            (
                one["alias"],
                one["path"],
                way(one),
                "" if one["since"] is None else ago(one["since"], run.now),
                one["address"] or "",
            )
            for one in view["contacts"]
        ]
        lines += ["", *table(("CONTACT", "PATH", "OVER", "SINCE", "ADDRESS"), people)]
    run.out.show(view, lines)
    return ExitCode.OK


def ping(run: Run) -> int:
    """`covey ping CONTACT`."""
    node, path = Node.at(run.home), path_of("contacts", run.options.contact, "ping")
    seconds: list[float] = []
    for number in range(run.options.count):
        if number:
            time.sleep(PAUSE_SECONDS)
        view = node.ask("POST", path)
        seconds.append(view["seconds"])
        run.out.show(view, [f"{harmless(view['alias'])}: {view['seconds'] * 1000:.1f} ms, {view['path']}"])
    if not run.out.as_json and len(seconds) > 1:
        best, mean, worst = min(seconds), sum(seconds) / len(seconds), max(seconds)
        run.out.show(None, [f"best {best * 1000:.1f} ms, mean {mean * 1000:.1f} ms, worst {worst * 1000:.1f} ms"])
    return ExitCode.OK


def watch(run: Run) -> int:
    """`covey watch`: until Ctrl-C or until the node stops."""
    node = Node.at(run.home)
    try:
        for number, kind, data in node.follow(after=run.options.after, kinds=run.options.kinds):
            if kind != "open":
                event = {"id": number, "kind": kind, "data": data}
                run.out.show(event, [f"{number or '-'}  {kind}  {_event(kind, data)}"])
    except NodeGone as exc:
        run.out.fail(exc)
        return exc.exit_code
    return ExitCode.OK


def _why(run: Run, node: Node) -> int:
    path = path_of("messages", run.options.why)
    view, why = node.ask("GET", path), node.ask("GET", f"{path}/why")
    status = "delivered" if why["status"] == "received" else why["status"]
    lines = [
        *lines_of([view], run),
        f"{status}, since {clock(why['status_at'], run.now)}: {harmless(why['words'])}",
        *(line for device in why["devices"] for line in _device(device, run)),
    ]
    run.out.show(why, lines)
    return ExitCode.OK


def _device(device: dict[str, Any], run: Run) -> list[str]:
    """Return what is tried for one device: the way straight to it, and each of its mailboxes."""
    direct = device["direct"]
    tries = f", after {direct['attempts']} attempts" if direct["attempts"] else ""
    rows = [("direct", direct["path"] if direct["path"] != "none" else "no", direct["words"] + tries, direct)]
    rows += [("mailbox", one["relay"], _lies(one, run), one) for one in device["mailboxes"]]
    cells = [(kind, name, words + _next(one, run)) for kind, name, words, one in rows]
    if not device["mailboxes"]:
        cells.append(("mailbox", "none", "this device has told us no mailboxes"))
    ends = f"kept until {clock(device['expires_at'], run.now)}"
    _, *lines = table(("", "", ""), cells)
    return [f"device {device['device'][:8]}, {device['status']}, {ends}", *(f"  {line}" for line in lines)]


def _lies(one: dict[str, Any], run: Run) -> str:
    if one["since"] is None:
        return str(one["words"])
    word = "since" if one["stored"] else "missed"
    return f"{one['words']}, {word} {clock(one['since'], run.now)}"


def _next(one: dict[str, Any], run: Run) -> str:
    if one["next_attempt_at"] is None or one.get("stored"):
        return ""
    wait = one["next_attempt_at"] - run.now
    return f", next attempt in {duration(max(wait, 1))}" if wait > 0 else ", being tried now"


def _event(kind: str, data: dict[str, Any]) -> str:
    if kind in {"message", "status"} and {"contact", "text", "outgoing", "status"} <= data.keys():
        direction = "to" if data["outgoing"] else "from"
        copies = data.get("copies") if data["status"] == "stored" else None
        status = f"stored {copies['stored']}/{copies['of']}" if copies else data["status"]
        return harmless(f"{direction} {data['contact']}  {status}  {data['text'] or ''}")
    if kind in {"contact", "request"} and {"alias", "state"} <= data.keys():
        return harmless(f"{data['alias']}  {data['state']}")
    return harmless(json.dumps(data))
