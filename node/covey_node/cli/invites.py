"""Commands about invite links: invite, invite list, invite revoke.

Owns: how invites are shown. Spec: docs/users.md. Never touches: HTTP itself.
"""

from __future__ import annotations

from covey_node.cli.client import Node, path_of
from covey_node.cli.contacts import qr_lines, qr_wanted
from covey_node.cli.exits import ExitCode
from covey_node.cli.output import Run
from covey_node.cli.text import ago, duration, harmless, table


def invite(run: Run) -> int:
    """`covey invite`: the link alone on stdout's last line, so that it can be piped."""
    options = run.options
    body = {"label": options.label, "valid_seconds": options.valid, "one_use": not options.open}
    view = Node.at(run.home).ask("POST", "/v1/invites", body)
    use = "once" if view["one_use"] else "many times"
    lines = [f"Valid for {duration(view['expires_at'] - run.now)}, usable {use}. Send it over a channel you trust:", ""]
    if qr_wanted(run):
        lines += [*qr_lines(view["link"]), ""]
    run.out.show(view, [*lines, harmless(view["link"])])
    return ExitCode.OK


def show(run: Run) -> int:
    """`covey invite list`."""
    answer = Node.at(run.home).ask("GET", "/v1/invites")
    if not answer["invites"]:
        run.out.show(answer, ["no open invites"])
        return ExitCode.OK
    rows = [
        (
            one["id"],
            one["label"],
            "once" if one["one_use"] else "many times",
            ago(one["created_at"], run.now),
            ago(one["expires_at"], run.now),
            one["used_by"] or "",
        )
        for one in answer["invites"]
    ]
    run.out.show(answer, table(("ID", "FOR", "USABLE", "MADE", "EXPIRES", "USED BY"), rows))
    return ExitCode.OK


def revoke(run: Run) -> int:
    """`covey invite revoke ID`."""
    Node.at(run.home).ask("DELETE", path_of("invites", run.options.invite))
    run.out.show({"revoked": run.options.invite}, [harmless(f"{run.options.invite}: revoked")])
    return ExitCode.OK
