"""Commands about mailboxes: mailbox, mailbox list, mailbox move.

Owns: how they are shown. Spec: docs/users.md, "Mailboxes". Never touches: HTTP itself.
"""

from __future__ import annotations

from typing import Any

from covey_node.cli.client import Node
from covey_node.cli.exits import ExitCode
from covey_node.cli.output import Run
from covey_node.cli.text import ago, duration, harmless, table

_STRANGERS = {"invites": "(your invites)", "open": "(open requests)"}


def show(run: Run) -> int:
    """`covey mailbox` and `covey mailbox list`."""
    view = Node.at(run.home).ask("GET", "/v1/mailboxes")
    run.out.show(view, _lines(view, run.now))
    return ExitCode.OK


def move(run: Run) -> int:
    """`covey mailbox move RELAY [--back]`."""
    body = {"relay": run.options.relay, "back": run.options.back}
    view = Node.at(run.home).ask("POST", "/v1/mailboxes/move", body)
    relay = harmless(run.options.relay)
    first = f"Your mailboxes leave {relay}: each is read until the contact knows the new one and it is empty."
    if run.options.back:
        first = f"{relay} is used again where a mailbox is missing."
    run.out.show(view, [first, "", *_lines(view, run.now)])
    return ExitCode.OK


def _lines(view: dict[str, Any], now: float) -> list[str]:
    if not view["on"]:
        return ["Mailboxes are switched off (COVEY_NODE_MAILBOXES=on switches them on)."]
    lines = []
    if view["relays"]:
        rows = [(_name(one), one["relay"][-6:], _relay(one, now), str(one["queues"])) for one in view["relays"]]
        lines += table(("RELAY", "PEER", "STATE", "QUEUES"), rows)
    if view["sets"]:
        rows = [(_whose(one), _where(one), _waiting(one), _told(one)) for one in view["sets"]]
        lines += ["", *table(("FROM", "AT", "WAITING", "TOLD"), rows)]
    if view["warning"]:
        lines += ["", harmless(f"Note: {view['warning']}.")]
    return lines


def _name(relay: dict[str, Any]) -> str:
    return str(relay["operator"]) or f"…{relay['relay'][-6:]}"


def _relay(relay: dict[str, Any], now: float) -> str:
    if relay["state"] == "silent":
        words = f"silent, last answered {ago(relay['reached_at'], now)}"
        words += f", replaced after {duration(86400 - relay['away_seconds'])}" if relay["away_seconds"] < 86400 else ""  # noqa: PLR2004 - a day, docs/users.md
        return f"{words} ({relay['reason']})" if relay["reason"] else words
    if relay["state"] == "left":
        return "left" if not relay["queues"] else "being left"
    return str(relay["state"])


def _whose(one: dict[str, Any]) -> str:
    return str(one["contact"] or _STRANGERS.get(one["purpose"], one["purpose"]))


def _where(one: dict[str, Any]) -> str:
    words = [
        _name(queue) + {"standing": "", "making": " (being made)"}.get(queue["state"], f" ({queue['state']})")
        for queue in one["queues"]
    ]
    return ", ".join(words) or "nowhere yet"


def _waiting(one: dict[str, Any]) -> str:
    known = [queue["waiting"] for queue in one["queues"] if queue["waiting"] is not None]
    return str(max(known)) if known else "unknown"


def _told(one: dict[str, Any]) -> str:
    if one["purpose"] != "contact":
        return "in links"
    if not one["number"] or not one["devices"]:
        return "not yet"
    return "yes" if one["confirmed"] == one["devices"] else f"{one['confirmed']} of {one['devices']} devices"
