"""What can be typed after `covey`: every command, its options, and the function that runs it.

Owns: the command line's grammar. Spec: docs/users.md. Never touches: what commands do; they are imported on use.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from covey_node.cli.text import seconds_of
from covey_node.home import default_home

_EPILOG = """exit codes: 0 done, 1 error, 2 wrong usage, 3 node not running, 4 not found, 5 refused or failed,
6 not in time, 7 the doctor found something wrong, 130 interrupted"""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser; a parsed command line has `run`, "module:function" below covey_node.cli."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--home", metavar="DIR", type=_folder, default=argparse.SUPPRESS, help="the node's folder (COVEY_HOME)"
    )
    common.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON for programs")
    parser = argparse.ArgumentParser(
        prog="covey",
        description="Talk to people, end-to-end encrypted, from device to device.",
        epilog=_EPILOG,
        parents=[common],
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")

    def command(name: str, run: str, help_text: str, **more: Any) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=help_text, description=help_text, parents=[common], **more)
        one.set_defaults(run=run)
        return one

    _account(command)
    _contacts(command, common)
    _messages(command)
    _node(command, common)
    return parser


_Add = Callable[..., argparse.ArgumentParser]


def _account(command: _Add) -> None:
    init = command("init", "account:init", "make an account on this machine")
    init.add_argument("--name", help="how you appear to contacts (default: the name of your user)")
    init.add_argument(
        "--network", metavar="LINK", help="the covey: link of the network, or an invite of somebody in it"
    )
    _unlock(init)
    join = command("join", "account:join", "join a network by its link")
    join.add_argument("link", metavar="LINK", help="the network's link or an invite; - reads it from standard input")
    run = command("run", "account:run", "run the node in the foreground")
    _unlock(run)


def _unlock(parser: argparse.ArgumentParser) -> None:
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--passphrase-file", metavar="FILE", type=Path, help="read the passphrase from this file")
    way.add_argument("--secret-file", metavar="FILE", type=Path, help="a file of 32 random bytes instead, for servers")


def _contacts(command: _Add, common: argparse.ArgumentParser) -> None:
    invite = command("invite", "invites:invite", "make a link by which somebody can become your contact")
    invite.add_argument("--for", dest="label", metavar="LABEL", default="", help="a note for yourself: whom it is for")
    invite.add_argument("--valid", metavar="TIME", type=_validity, default=7 * 86400.0, help="default: 7d")
    invite.add_argument("--open", action="store_true", help="may be used by many, until it expires")
    invite.add_argument("--qr", action=argparse.BooleanOptionalAction, help="show a QR code (default: on a terminal)")
    actions = invite.add_subparsers(dest="action", metavar="list | revoke ID")
    actions.add_parser("list", parents=[common], help="show your invites").set_defaults(run="invites:show")
    revoke = actions.add_parser("revoke", parents=[common], help="make an invite unusable")
    revoke.add_argument("invite", metavar="ID")
    revoke.set_defaults(run="invites:revoke")

    profile = command("profile", "profile:show", "show, publish or hide your public profile")
    ways = profile.add_subparsers(dest="action", metavar="publish | hide")
    publish = ways.add_parser("publish", parents=[common], help="let whoever knows your account key ask you")
    publish.set_defaults(run="profile:publish")
    ways.add_parser("hide", parents=[common], help="take it back").set_defaults(run="profile:hide")

    add = command("add", "contacts:add", "use somebody's link: ask to become a contact")
    add.add_argument("link", metavar="LINK", help="the covey: link, or an account key; - reads it from standard input")
    add.add_argument("--as", dest="alias", metavar="ALIAS", help="your own name for them")
    add.add_argument("--intro", metavar="TEXT", default="", help="a word about yourself")
    add.add_argument("--wait", metavar="TIME", type=_seconds, help="wait so long for the answer")

    contacts = command("contacts", "contacts:show", "show your contacts")
    contacts.add_argument("--all", action="store_true", help="also blocked, refused and undecided ones")

    requests = command("requests", "contacts:requests", "show, accept or refuse requests of strangers")
    decisions = requests.add_subparsers(dest="action", metavar="accept CONTACT | refuse CONTACT")
    accept = decisions.add_parser("accept", parents=[common], help="accept a request")
    accept.add_argument("contact", metavar="CONTACT")
    accept.add_argument("--as", dest="alias", metavar="ALIAS", help="your own name for them")
    accept.set_defaults(run="contacts:accept")
    refuse = decisions.add_parser("refuse", parents=[common], help="refuse a request; they are told")
    refuse.add_argument("contact", metavar="CONTACT")
    refuse.set_defaults(run="contacts:refuse")

    verify = command("verify", "contacts:verify", "show the safety number with a contact")
    verify.add_argument("contact", metavar="CONTACT")
    mark = verify.add_mutually_exclusive_group()
    mark.add_argument("--mark", action="store_true", help="you compared it: mark the contact as verified")
    mark.add_argument("--unmark", action="store_true", help="take that back")
    verify.add_argument("--qr", action=argparse.BooleanOptionalAction, help="show a QR code (default: on a terminal)")

    rename = command("rename", "contacts:rename", "give a contact another name of your own")
    rename.add_argument("contact", metavar="CONTACT")
    rename.add_argument("alias", metavar="ALIAS")
    block = command("block", "contacts:block", "take nothing more from a contact")
    block.add_argument("contact", metavar="CONTACT")


def _messages(command: _Add) -> None:
    send = command("send", "messages:send", "send a text")
    send.add_argument("contact", metavar="CONTACT")
    send.add_argument("text", metavar="TEXT", nargs="+", help="the text; - reads it from standard input")
    send.add_argument("--reply-to", metavar="ID", help="the message that this one answers")
    send.add_argument("--disappear", metavar="TIME", type=_seconds, help="delete it on both sides after this time")
    send.add_argument(
        "--wait",
        choices=("delivered", "stored", "sent", "none"),
        help="how far it must get; exit code 6 when it does not (default: look for 5 s, and say)",
    )
    send.add_argument(
        "--timeout", metavar="TIME", type=_seconds, help="how long to wait (default: 5s; with --wait 60s)"
    )

    chat = command("chat", "chat:chat", "talk with a contact, live")
    chat.add_argument("contact", metavar="CONTACT")
    chat.add_argument("--limit", metavar="N", type=_count, default=20, help="earlier messages to show (default: 20)")

    history = command("history", "messages:history", "show the conversation with a contact")
    history.add_argument("contact", metavar="CONTACT")
    history.add_argument("--limit", metavar="N", type=_count, default=50, help="default: 50")
    history.add_argument("--before", metavar="ID", help="the messages before this one")
    history.add_argument("--mark-read", action="store_true", help="tell the sender that you read them")

    react = command("react", "messages:react", "react to a message")
    react.add_argument("message", metavar="ID")
    react.add_argument("emoji", metavar="EMOJI", nargs="?", default="", help="without it the reaction is taken back")
    edit = command("edit", "messages:edit", "replace the text of a message of yours")
    edit.add_argument("message", metavar="ID")
    edit.add_argument("text", metavar="TEXT", nargs="+", help="the new text; - reads it from standard input")
    delete = command("delete", "messages:delete", "delete a message of yours on both sides")
    delete.add_argument("message", metavar="ID")


def _node(command: _Add, common: argparse.ArgumentParser) -> None:
    status = command("status", "node:status", "show how the node is doing")
    status.add_argument("--why", metavar="MESSAGE", help="why this message is where it is")
    mailbox = command("mailbox", "mailboxes:show", "show where mail for you waits while you are away")
    actions = mailbox.add_subparsers(dest="action", metavar="list | move RELAY")
    actions.add_parser("list", parents=[common], help="show relays and queues").set_defaults(run="mailboxes:show")
    move = actions.add_parser("move", parents=[common], help="have your mailboxes leave a relay; no mail is lost")
    move.add_argument("relay", metavar="RELAY", help="its operator, PeerId, or the end of it")
    move.add_argument("--back", action="store_true", help="use that relay again")
    move.set_defaults(run="mailboxes:move")
    doctor = command("doctor", "doctor:doctor", "show how you and your contacts are reached, and what would help")
    doctor.add_argument("contact", metavar="CONTACT", nargs="?", help="try to reach this one, and explain step by step")
    ping = command("ping", "node:ping", "measure the way to a contact's device")
    ping.add_argument("contact", metavar="CONTACT")
    ping.add_argument("--count", metavar="N", type=_count, default=3, help="default: 3")
    watch = command("watch", "node:watch", "print what happens, one line an event")
    watch.add_argument("--after", metavar="EVENT", type=int, help="go on after this event's number")
    watch.add_argument("--kinds", metavar="KINDS", default="", help="only these, such as message,contact")
    completion = command("completion", "completion:completion", "print a completion script for your shell")
    completion.add_argument("shell", choices=("bash", "zsh", "fish"))


def _folder(text: str) -> Path:
    return Path(text).expanduser()


def home_of(options: argparse.Namespace) -> Path:
    """Return the folder of `--home`, else the default one, absolute."""
    chosen: Path = getattr(options, "home", None) or default_home()
    return chosen.absolute()


def _seconds(text: str) -> float:
    try:
        return seconds_of(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from None


def _validity(text: str) -> float:
    from covey_node.limits import INVITE_SECONDS_MAX  # noqa: PLC0415 - only where a time is given

    seconds = _seconds(text)
    if seconds > INVITE_SECONDS_MAX:
        raise argparse.ArgumentTypeError(f"an invite is good for {INVITE_SECONDS_MAX // 86400} days at most")
    return seconds


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= 1000:  # noqa: PLR2004 - one page of the API
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 1000")
    return int(text)
