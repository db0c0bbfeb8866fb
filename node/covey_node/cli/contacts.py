"""Commands about people: contacts, add, requests, verify, rename, block.

Owns: how contacts are shown. Spec: docs/users.md. Never touches: HTTP itself.
"""

from __future__ import annotations

import sys
from typing import Any

from covey_node.cli.client import Node, path_of
from covey_node.cli.exits import ExitCode
from covey_node.cli.output import Run
from covey_node.cli.text import ago, groups, harmless, table

_SHOWN = {"accepted", "requesting", "requested"}


def show(run: Run) -> int:
    """`covey contacts`."""
    answer = Node.at(run.home).ask("GET", "/v1/contacts")
    if not run.options.all:
        answer["contacts"] = [one for one in answer["contacts"] if one["state"] in _SHOWN]
    contacts = answer["contacts"]
    if not contacts:
        run.out.show(answer, ["no contacts yet; send somebody a link: covey invite, or use theirs: covey add LINK"])
        return ExitCode.OK
    head = ("ALIAS", "STATE", "PATH", "LAST SEEN", "UNREAD", "QUEUED", "VERIFIED")
    rows = [
        (
            one["alias"],
            one["state"],
            one["path"],
            ago(one["last_seen"], run.now),
            str(one["unread"]),
            str(one["queued"]),
            "yes" if one["verified"] else "no",
        )
        for one in contacts
    ]
    notes = [
        harmless(f"{one['alias']}: {one['reason']}") for one in contacts if one["reason"] and one["state"] != "accepted"
    ]
    run.out.show(answer, [*table(head, rows), *([""] if notes else []), *notes])
    return ExitCode.OK


def add(run: Run) -> int:
    """`covey add LINK`."""
    options = run.options
    body = {"link": link_of(options.link), "alias": options.alias, "intro": options.intro}
    node = Node.at(run.home)
    view = node.ask("POST", "/v1/contacts", body)
    if options.wait is not None:
        view = node.wait(path_of("contacts", view["account"]), _is_answered, seconds=options.wait)
    run.out.show(view, [_standing(view)])
    if view["state"] in {"refused", "blocked"}:
        return ExitCode.REFUSED
    return ExitCode.TIMEOUT if options.wait is not None and not _is_answered(view) else ExitCode.OK


def requests(run: Run) -> int:
    """`covey requests`."""
    answer = Node.at(run.home).ask("GET", "/v1/requests")
    if not answer["requests"]:
        run.out.show(answer, ["no requests"])
        return ExitCode.OK
    rows = [(one["alias"], one["account"][:8], one["intro"] or "") for one in answer["requests"]]
    lines = table(("ALIAS", "ACCOUNT", "INTRO"), rows)
    run.out.show(answer, [*lines, "", "covey requests accept ALIAS | covey requests refuse ALIAS"])
    return ExitCode.OK


def accept(run: Run) -> int:
    """`covey requests accept CONTACT`."""
    path = path_of("requests", run.options.contact, "accept")
    view = Node.at(run.home).ask("POST", path, {"alias": run.options.alias})
    run.out.show(view, [_standing(view)])
    return ExitCode.OK


def refuse(run: Run) -> int:
    """`covey requests refuse CONTACT`."""
    Node.at(run.home).ask("POST", path_of("requests", run.options.contact, "refuse"))
    run.out.show({"refused": run.options.contact}, [harmless(f"{run.options.contact}: refused")])
    return ExitCode.OK


def rename(run: Run) -> int:
    """`covey rename CONTACT ALIAS`."""
    view = Node.at(run.home).ask("PATCH", path_of("contacts", run.options.contact), {"alias": run.options.alias})
    run.out.show(view, [harmless(f"{run.options.contact} is now {view['alias']}")])
    return ExitCode.OK


def block(run: Run) -> int:
    """`covey block CONTACT`."""
    Node.at(run.home).ask("POST", path_of("contacts", run.options.contact, "block"))
    run.out.show({"blocked": run.options.contact}, [harmless(f"{run.options.contact}: blocked")])
    return ExitCode.OK


def verify(run: Run) -> int:
    """`covey verify CONTACT`."""
    options = run.options
    node, path = Node.at(run.home), path_of("contacts", options.contact, "verification")
    if options.mark or options.unmark:
        view = node.ask("PUT", path, {"verified": options.mark})
    else:
        view = node.ask("GET", path)
    alias = harmless(view["alias"])
    lines = [f"Safety number with {alias}:", "", *("  " + line for line in groups(view["safety_number"])), ""]
    if qr_wanted(run):
        lines += [*qr_lines(view["qr"]), ""]
    if view["verified"]:
        lines.append(f"{alias} is marked as verified.")
    else:
        lines += [
            f"Compare it with {alias} in person or by a call. When both are the same:",
            f"  covey verify {alias} --mark",
        ]
    run.out.show(view, lines)
    return ExitCode.OK


def _is_answered(view: dict[str, Any]) -> bool:
    return view["state"] not in {"requesting", "requested"}


def link_of(text: str) -> str:
    """Return the link, from standard input when it is `-`."""
    return sys.stdin.readline(64 * 1024).strip() if text == "-" else text


def qr_wanted(run: Run) -> bool:
    """Return whether to draw a QR code: as asked, else on a terminal."""
    if run.out.as_json:
        return False
    return bool(sys.stdout.isatty() if run.options.qr is None else run.options.qr)


def qr_lines(text: str) -> list[str]:
    """Return a QR code as lines, or one line that says why there is none: the link is shown in any case."""
    from covey_core.errors import CoveyError  # noqa: PLC0415 - only where a code is drawn
    from covey_core.link import qr_text  # noqa: PLC0415

    try:
        return qr_text(text).splitlines()
    except CoveyError as exc:
        return [f"({exc})"]


def _standing(view: dict[str, Any]) -> str:
    alias = harmless(view["alias"])
    words = {
        "requesting": f"{alias}: the request is on its way",
        "requested": f"{alias}: has your request and has not answered yet",
        "accepted": f"{alias}: accepted; say hello: covey send {alias} hello",
        "refused": f"{alias}: refused",
        "blocked": f"{alias}: blocked",
    }
    line = words.get(view["state"], f"{alias}: {harmless(view['state'])}")
    return line + (f" ({harmless(view['reason'])})" if view["reason"] else "")
