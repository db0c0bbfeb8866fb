"""Commands about the public profile: profile, profile publish, profile hide.

Owns: how it is shown. Spec: docs/users.md. Never touches: HTTP itself.
"""

from __future__ import annotations

from typing import Any

from covey_node.cli.client import Node
from covey_node.cli.exits import ExitCode
from covey_node.cli.output import Run
from covey_node.cli.text import ago, harmless


def show(run: Run) -> int:
    """`covey profile`."""
    view = Node.at(run.home).ask("GET", "/v1/profile")
    run.out.show(view, _lines(view, run.now))
    return ExitCode.OK


def publish(run: Run) -> int:
    """`covey profile publish`."""
    return _want(run, published=True)


def hide(run: Run) -> int:
    """`covey profile hide`."""
    return _want(run, published=False)


def _want(run: Run, *, published: bool) -> int:
    view = Node.at(run.home).ask("PUT", "/v1/profile", {"published": published})
    run.out.show(view, _lines(view, run.now))
    return ExitCode.OK


def _lines(view: dict[str, Any], now: float) -> list[str]:
    if not view["wanted"]:
        told = " Holders are told; what they keep is gone within two days." if view["published_at"] else ""
        return [f"You have no public profile: only your contacts and who holds an invite can reach you.{told}"]
    if view["published_at"] is None or not view["holders"]:
        return ["Your public profile is to be published, and nobody holds it yet: it is tried again every 30 s."]
    return [
        f"Your public profile was published {ago(view['published_at'], now)}; {view['holders']} hold it. It says:",
        harmless(f"  name       {view['name']}"),
        f"  mailboxes  {view['mailboxes']}, where requests wait for you",
        "",
        "Whoever knows your account key finds it, and asks you with:",
        f"  covey add {view['account']}",
    ]
