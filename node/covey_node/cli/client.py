"""The way to the running node: finding it, asking it, following what happens.

Owns: api.json and api.token as a client reads them, HTTP over TCP or a Unix socket, the errors that come back.
Spec: docs/spec/api.md. Never touches: printing.
"""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from covey_node.cli.exits import CliError, ExitCode
from covey_node.home import API_FILE, API_LOCK_FILE, NETWORK_FILE

ANSWER_SECONDS = 30  # beyond what the request itself waits for
WAIT_SECONDS = 240  # one request waits for so long at most; the API allows 300
HEARTBEAT_SECONDS = 45  # three of the stream's heartbeats

_EXITS = {
    "not_found": ExitCode.NOT_FOUND,
    "refused": ExitCode.REFUSED,
    "unreachable": ExitCode.REFUSED,
    "invalid": ExitCode.USAGE,
    "link_invalid": ExitCode.USAGE,
    "too_large": ExitCode.USAGE,
}


class NodeGone(CliError):
    """The node stopped or cut us off while we followed it."""

    def __init__(self, message: str) -> None:
        super().__init__(ExitCode.NOT_RUNNING, message)


class Node:
    """The running node of one home."""

    def __init__(self, address: str, token: str) -> None:
        self._address = address
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    @classmethod
    def at(cls, home: Path) -> Node:
        """Find the node that runs on this home; raise `CliError` when none does."""
        try:
            text = (home / API_FILE).read_text("utf-8")
            alive = _is_locked(home / API_LOCK_FILE)
            where = json.loads(text)
            address, token_file = str(where["address"]), home / str(where["token_file"])
            token = token_file.read_text("ascii").strip()
        except FileNotFoundError:
            raise _not_running(home) from None
        except PermissionError:
            raise CliError(ExitCode.ERROR, f"{home} belongs to another user; run covey as the node's user") from None
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise CliError(ExitCode.ERROR, f"{home / API_FILE} cannot be read ({exc}); restart the node") from None
        if not alive:
            raise _not_running(home)
        if address.startswith("unix:"):
            address = f"unix:{home / address.removeprefix('unix:')}"
        return cls(address, token)

    def ask(self, method: str, path: str, body: Mapping[str, object] | None = None, *, wait_seconds: float = 0) -> Any:
        """Send one request and return the decoded answer, None when it is empty; raise `CliError` on a refusal."""
        connection = self._connect(ANSWER_SECONDS + wait_seconds)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), self._headers)
            answer = connection.getresponse()
            content = answer.read()
        except TimeoutError:
            raise CliError(ExitCode.TIMEOUT, "the node does not answer; its log may say why") from None
        except (OSError, http.client.HTTPException):
            raise NodeGone("the node stopped before it answered") from None
        finally:
            connection.close()
        if answer.status >= http.client.BAD_REQUEST:
            raise _error(content, answer.status)
        return json.loads(content) if content else None

    def wait(self, path: str, good: Callable[[Any], bool], *, seconds: float) -> Any:
        """Ask for `path` until the answer is `good` or `seconds` are over; the node tells as soon as it is.

        Ctrl-C ends the waiting, not the command: what is waited for goes on without us.
        """
        deadline = time.monotonic() + seconds
        link = "&" if "?" in path else "?"
        view = None
        try:
            while view is None or (not good(view) and time.monotonic() < deadline):
                part = min(max(deadline - time.monotonic(), 0), WAIT_SECONDS)
                view = self.ask("GET", f"{path}{link}wait_seconds={part:.3f}", wait_seconds=part)
        except KeyboardInterrupt:
            view = self.ask("GET", path)
        return view

    def follow(self, *, after: int | None = None, kinds: str = "") -> Iterator[tuple[int | None, str, Any]]:
        """Yield `(id, kind, data)` of what happens, first of all `(None, "open", None)` once nothing is missed.

        Goes on after a cut by itself; raises `NodeGone` when the node stops.
        """
        while True:
            connection = self._connect(HEARTBEAT_SECONDS)
            try:
                query = urlencode(
                    {name: value for name, value in (("after", after), ("kinds", kinds)) if value not in {None, ""}}
                )
                connection.request("GET", f"/v1/events?{query}", None, self._headers)
                answer = connection.getresponse()
                if answer.status != http.client.OK:
                    raise _error(answer.read(), answer.status)
                yield None, "open", None
                for number, kind, data in _frames(answer):
                    after = number if number is not None else after
                    if kind == "end":
                        if data.get("reason") == "shutdown":
                            raise NodeGone("the node stopped")
                        break
                    yield number, kind, data
                else:
                    raise NodeGone("the node stopped")
            except (OSError, http.client.HTTPException, ValueError):
                raise NodeGone("the connection to the node was lost") from None
            finally:
                connection.close()

    def _connect(self, timeout: float) -> http.client.HTTPConnection:
        try:
            if self._address.startswith("unix:"):
                connection = http.client.HTTPConnection("localhost", timeout=timeout)
                connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                connection.sock.settimeout(timeout)
                connection.sock.connect(self._address.removeprefix("unix:"))
            else:
                connection = http.client.HTTPConnection(self._address.removeprefix("http://"), timeout=timeout)
                connection.connect()
        except OSError as exc:
            raise NodeGone(f"the node does not answer at {self._address} ({exc.strerror or exc}); restart it") from None
        return connection


def path_of(*parts: str) -> str:
    """Return a path below /v1 with every part quoted: an alias may hold anything."""
    return "/v1/" + "/".join(quote(part, safe="") for part in parts)


def _frames(answer: http.client.HTTPResponse) -> Iterator[tuple[int | None, str, Any]]:
    """Decode server-sent events as our node writes them: one line each of id, event, data."""
    number, kind, data = None, "message", ""
    for raw in answer:
        line = raw.decode("utf-8").rstrip("\r\n")
        name, _, value = line.partition(": ")
        if name == "id":
            number = int(value)
        elif name == "event":
            kind = value
        elif name == "data":
            data = value
        elif not line and data:
            yield number, kind, json.loads(data)
            number, kind, data = None, "message", ""


def _is_locked(lock: Path) -> bool:
    """Return whether a node lives: it holds the lock. Otherwise its port may be somebody else's by now."""
    descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _not_running(home: Path) -> CliError:
    if not home.exists():
        return CliError(ExitCode.NOT_RUNNING, f"there is no account in {home}; make one with: covey init")
    if not (home / NETWORK_FILE).exists():
        return CliError(ExitCode.NOT_RUNNING, f"no node runs on {home}; covey init or covey join LINK, then covey run")
    return CliError(ExitCode.NOT_RUNNING, f"no node runs on {home}; start it with: covey run")


def _error(content: bytes, status: int) -> CliError:
    try:
        error = json.loads(content)["error"]
        code, message = str(error["code"]), str(error["message"])
    except (ValueError, KeyError, TypeError):
        return CliError(ExitCode.ERROR, f"the node answered with HTTP status {status}")
    return CliError(_EXITS.get(code, ExitCode.ERROR), message, code=code)
