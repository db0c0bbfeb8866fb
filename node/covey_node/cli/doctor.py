"""`covey doctor [CONTACT]`: how this machine is reached, how a contact is, and what could be changed.

Owns: how that is shown. Spec: docs/users.md, "When somebody is not reached". Never touches: HTTP itself, what is said.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from covey_node.cli.client import Node
from covey_node.cli.exits import ExitCode
from covey_node.cli.output import Output, Run
from covey_node.cli.text import ago, duration, harmless, reservation, table, way

TRY_SECONDS = 20  # the node tries for so long to reach a contact that is asked for
PUNCHES_SHOWN = 4  # the last ones; --json has them all
LINE = 100  # columns of what is said in sentences
_STEP_COLUMNS = 18  # before the words of a step

_STEPS = {
    "here": "this machine",
    "nat": "NAT",
    "contact": "contact",
    "addresses": "addresses",
    "direct": "direct path",
    "relayed": "relayed path",
}


def doctor(run: Run) -> int:
    """`covey doctor` and `covey doctor CONTACT`."""
    contact: str | None = run.options.contact
    query = "" if contact is None else "?" + urlencode({"contact": contact})
    view = Node.at(run.home).ask("GET", f"/v1/doctor{query}", wait_seconds=0 if contact is None else TRY_SECONDS)
    lines = _machine(view, run) if contact is None else _contact(view["contacts"][0], view, run)
    run.out.show(view, lines)
    return ExitCode.OK if view["healthy"] else ExitCode.UNHEALTHY


def _machine(view: Mapping[str, Any], run: Run) -> list[str]:
    reached = sum(one["reachable"] is True for one in view["addresses"])
    reserved = sum(one["reserved_until"] is not None for one in view["relays"])
    portmap = view["portmap"]
    facts = [
        ("NAT", f"{view['nat']['kind']}: {view['nat']['words']}"),
        ("UDP", view["nat"]["udp"]),
        ("from outside", f"reached at {_count(reached, 'address', 'addresses')}" if reached else _unreached(view)),
        ("port mapping", _PORTMAP[portmap["state"]]),
        ("relays", f"{reserved} of {len(view['relays'])} keep a slot" if view["relays"] else "none known"),
        ("DHT servers", f"{view['bootstraps_connected']} answer"),
    ]
    lines = [f"{name:<15} {harmless(str(value))}" for name, value in facts]
    lines += _section(
        ("ADDRESS", "OVER", "FROM OUTSIDE", "CHECKED"),
        [
            (one["address"], one["transport"], _reachable(one), _ago(one["checked_at"], run.now))
            for one in view["addresses"]
        ],
    )
    lines += _section(
        ("PORT", "MAPPED TO", "BY", "RENEWED"),
        [
            (f"{one['protocol']} {one['internal_port']}", one["external"], one["via"], ago(one["expires_at"], run.now))
            for one in portmap["mappings"]
        ],
    )
    lines += _section(
        ("RELAY", "PEER", "STATE"),
        [(one["operator"], one["peer"][-6:], reservation(one, run.now)) for one in view["relays"]],
    )
    lines += _section(
        ("CONTACT", "PATH", "OVER", "SINCE", "LAST HOLE PUNCH"),
        [
            (one["alias"], one["path"], way(one), _ago(one["since"], run.now), _last(one, run.now))
            for one in view["contacts"]
        ],
    )
    return [*lines, *_advice(view["advice"], run.out, "nothing to change on this machine")]


def _contact(contact: Mapping[str, Any], view: Mapping[str, Any], run: Run) -> list[str]:
    alias = harmless(contact["alias"])
    if contact["path"] == "none":
        lines = [f"{alias}: not reached now"]
    else:
        over = f" over {way(contact)}" if way(contact) else ""
        span = "" if contact["since"] is None else f", for {duration(max(0, run.now - contact['since']))}"
        lines = [f"{alias}: reached, {contact['path']}{harmless(over)}{span}"]
    lines.append("")
    for step in contact["hops"]:
        mark = {True: run.out.style("ok", "green"), False: run.out.style("no", "red"), None: "- "}[step["ok"]]
        first, *more = textwrap.wrap(harmless(step["words"]), LINE - _STEP_COLUMNS) or [""]
        lines.append(f"{mark}  {_STEPS.get(step['code'], step['code']):<13} {first}")
        lines += [" " * _STEP_COLUMNS + line for line in more]
    lines += _section(
        ("PATH", "OVER", "ADDRESS", "SINCE", "ROUND TRIP", "STATE"),
        [
            (
                one["path"],
                way(one),
                one["address"],
                ago(one["since"], run.now),
                "" if one["rtt_seconds"] is None else f"{one['rtt_seconds'] * 1000:.0f} ms",
                "in use" if one["used"] else one["state"] or "",
            )
            for one in contact["paths"]
        ],
    )
    lines += _section(*_punches(contact["punches"][:PUNCHES_SHOWN], run.now))
    wrong_here = [one for one in view["advice"] if one["wrong"]]
    return [*lines, *_advice([*wrong_here, *contact["advice"]], run.out, "nothing to change")]


def _section(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a table below an empty line, nothing without rows."""
    return ["", *table(head, rows)] if rows else []


def _punches(punches: Sequence[Mapping[str, Any]], now: float) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    head = ("HOLE PUNCH", "OUR SIDE", "ATTEMPTS", "TOOK", "OUTCOME")
    rows: list[Sequence[str]] = []
    for one in punches:
        outcome = f"{one['outcome']}: {one['words']}"
        rows.append((ago(one["at"], now), one["side"], str(one["attempts"]), f"{one['seconds']:.1f} s", outcome))
        for address in one["addresses"]:
            said = address["outcome"] + (f": {address['reason']}" if address["reason"] else "")
            rows.append(("", "", "", "", f"{address['address']} {said}"))
    return head, rows


def _advice(found: Sequence[Mapping[str, Any]], out: Output, nothing: str) -> list[str]:
    if not found:
        return ["", nothing]
    lines = ["", "What you could change:"]
    for one in found:
        text = textwrap.wrap(harmless(one["words"]), LINE, initial_indent="  ", subsequent_indent="    ")
        mark = out.style("!", "red") if one["wrong"] else "-"
        lines += [f"{mark} {text[0].strip()}", *text[1:]]
    return lines


_PORTMAP = {
    "off": "not asked for: switched off, or addresses to announce are set",
    "none": "none; no router maps ports, or none is needed",
    "mapped": "the router lets others in",
}


def _unreached(view: Mapping[str, Any]) -> str:
    if any(one["reachable"] is False for one in view["addresses"]):
        return "not reached directly"
    return "not known yet"


def _reachable(address: Mapping[str, Any]) -> str:
    if address["reachable"] is None:
        if address["scope"] == "local":
            return "local only"
        return "not checked" if address["checked_at"] is None else "no answer about it yet"
    if address["reachable"]:
        return "yes"
    return "no" + (f": {address['reason']}" if address["reason"] else "")


def _last(contact: Mapping[str, Any], now: float) -> str:
    if not contact["punches"]:
        return ""
    last = contact["punches"][0]
    why = f" ({last['words']})" if last["outcome"] == "failed" else ""
    return f"{last['outcome']} {ago(last['at'], now)}{why}"


def _ago(then: float | None, now: float) -> str:
    return "" if then is None else ago(then, now)


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
