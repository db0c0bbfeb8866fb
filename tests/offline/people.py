"""Alice and bob, of whom one at most is online, and three relays: what a test asks of them.

Owns: who runs. Waiting asks the node itself again and again; each question takes a process in its container.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.e2e.compose import Project, docker

PEOPLE = ("alice", "bob")
RELAYS = ("relay", "relay-two", "relay-three")
START_SECONDS = 60  # until a node's API answers, on a busy machine
NEWS_SECONDS = 60  # until what waits at the relays has come, or lies there


class People:
    """The running network; both people are offline until a test says so."""

    def __init__(self, project: Project) -> None:
        self.project = project
        project.up(*RELAYS, *(f"router-{name}" for name in PEOPLE))
        project.compose("create", "--no-recreate", *PEOPLE)
        self.containers = {name: str(project.inspect(name)["Id"]) for name in (*PEOPLE, *RELAYS)}

    @contextmanager
    def online(self, name: str) -> Iterator[None]:
        """Let one of them be online for the length of the block; nobody else is."""
        for other in PEOPLE:
            assert other == name or not self.runs(other), f"{other} is online"
        docker("start", self.containers[name])
        self.wait(lambda: self._answers(name), f"{name}'s node answers", seconds=START_SECONDS)
        try:
            yield
        finally:
            docker("stop", "--time", "10", self.containers[name])

    def runs(self, name: str) -> bool:
        """Whether a container runs."""
        return docker("inspect", "--format", "{{.State.Running}}", self.containers[name]).stdout.strip() == "true"

    def docker(self, verb: str, *services: str) -> None:
        """Stop, start, kill, pause or unpause containers."""
        docker(verb, *(self.containers[service] for service in services))

    def run_in(self, service: str, *words: str, check: bool = True) -> str:
        """Run a command in a container; fails with what it said when its exit code is not 0."""
        return docker("exec", self.containers[service], *words, check=check, timeout=60).stdout

    # --- what a user types --------------------------------------------------------------------------------------------

    def covey(self, name: str, *words: str) -> Any:
        """Run `covey WORDS --json` in a person's container and return the decoded answer."""
        return json.loads(self.run_in(name, "covey", *words, "--json"))

    def leave(self, name: str, contact: str, text: str) -> dict[str, Any]:
        """Send and wait until the message lies at a quorum of the contact's relays; return it."""
        self.covey(name, "send", contact, text, "--wait", "none")

        def stored() -> bool:
            return bool(self.sent(name, contact, text)["status"] == "stored")

        self.wait(stored, f"{text!r} is stored", last=lambda: json.dumps(self.sent(name, contact, text)))
        return self.sent(name, contact, text)

    def contact(self, name: str, alias: str) -> dict[str, Any]:
        """Return a contact as it is shown; state and reason are "unknown" while there is none."""
        found = [one for one in self.covey(name, "contacts")["contacts"] if one["alias"] == alias]
        return found[0] if found else {"state": "unknown", "reason": "unknown"}

    def messages(self, name: str, contact: str) -> list[dict[str, Any]]:
        """Return the texts of a conversation, oldest first."""
        found = self.covey(name, "history", contact, "--limit", "1000")["messages"]
        return [one for one in found if one["kind"] == "text"]

    def texts(self, name: str, contact: str) -> list[str]:
        """Return the texts that came in, oldest first."""
        return [one["text"] for one in self.messages(name, contact) if not one["outgoing"]]

    def sent(self, name: str, contact: str, text: str) -> dict[str, Any]:
        """Return a message of one's own by its text."""
        (found,) = (one for one in self.messages(name, contact) if one["outgoing"] and one["text"] == text)
        return found

    def wait_for_texts(self, name: str, contact: str, texts: list[str]) -> None:
        """Wait until exactly these have come in, in this order."""
        self.wait(
            lambda: len(self.texts(name, contact)) >= len(texts),
            f"{name} has {texts}",
            last=lambda: str(self.texts(name, contact)),
        )
        assert self.texts(name, contact) == texts

    def wait(
        self,
        good: Callable[[], bool],
        what: str,
        *,
        seconds: float = NEWS_SECONDS,
        last: Callable[[], str] = lambda: "no more is known",
    ) -> None:
        """Ask until it is so; fail after `seconds`."""
        deadline = time.monotonic() + seconds
        while not good():
            assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}; {last()}"

    def _answers(self, name: str) -> bool:
        done = docker("exec", self.containers[name], "covey", "status", "--json", check=False, timeout=30)
        return done.returncode == 0
