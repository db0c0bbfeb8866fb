"""Alice and bob, each behind a NAT router of her own, two relays and a seed: one network for all NAT tests.

Owns: what a test asks of it. It is brought up once; for each test only the routers' rules change and the nodes start
anew, so that every mapping, circuit and connection is made under the new rules.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from tests.e2e.compose import Project, docker
from tests.nat.watcher import Watcher, slots_of

PEOPLE = ("alice", "bob")
OPERATORS = {"home", "other"}  # who runs the relays
NOT_IN_TIME = 6  # the exit code of `covey send --wait` (docs/users.md)
START_SECONDS = 40  # a node's start and its slots at both relays, on a busy machine


class Homes:
    """The running network."""

    def __init__(self, project: Project) -> None:
        self.project = project
        names = (*PEOPLE, *(f"router-{name}" for name in PEOPLE), "relay", "relay-two")
        self.containers = {name: str(project.inspect(name)["Id"]) for name in names}

    # --- what a user types ----------------------------------------------------------------------------------------

    def covey(self, name: str, *words: str, timeout: float = 60) -> Any:
        """Run `covey WORDS --json` in a person's container and return the decoded answer."""
        return json.loads(self.run_in(name, "covey", *words, "--json", timeout=timeout))

    def send(self, name: str, text: str, *, seconds: int) -> dict[str, Any]:
        """Send to the other one; fails unless it is delivered within `seconds`."""
        other = PEOPLE[1 - PEOPLE.index(name)]
        words = ("send", other, text, "--wait", "delivered", "--timeout", f"{seconds}s")
        view: dict[str, Any] = self.covey(name, *words, timeout=seconds + 30)
        assert view["status"] in {"delivered", "read"}, view
        return view

    def try_to_send(self, name: str, text: str, *, seconds: int) -> dict[str, Any]:
        """Send to the other one; return how far it came within `seconds`."""
        other = PEOPLE[1 - PEOPLE.index(name)]
        words = ("covey", "send", other, text, "--wait", "delivered", "--timeout", f"{seconds}s", "--json")
        done = docker("exec", self.containers[name], *words, check=False, timeout=seconds + 30)
        assert done.returncode in {0, NOT_IN_TIME}, done.stderr
        view: dict[str, Any] = json.loads(done.stdout)
        return view

    def queue(self, name: str, text: str) -> None:
        """Send to the other one without waiting."""
        self.covey(name, "send", PEOPLE[1 - PEOPLE.index(name)], text, "--wait", "none")

    def texts(self, name: str) -> list[str]:
        """Return the texts that came in, oldest first."""
        other = PEOPLE[1 - PEOPLE.index(name)]
        messages = self.covey(name, "history", other, "--limit", "1000")["messages"]
        return [one["text"] for one in messages if one["kind"] == "text" and not one["outgoing"]]

    # --- routers, relays, cables ----------------------------------------------------------------------------------

    def router(self, name: str, *words: str) -> None:
        """Tell a person's router something (deploy/nat/router.sh)."""
        self.run_in(f"router-{name}", "router", *words)

    def docker(self, verb: str, *services: str) -> None:
        """Stop, start, kill, pause or unpause containers."""
        docker(verb, *(self.containers[service] for service in services))

    def lan(self, name: str) -> str:
        """Return the name of a person's LAN."""
        return f"{self.project.name}_lan-{name}"

    def wan(self, name: str) -> str:
        """Return the address that a person's router begins with."""
        return f"{self.project.prefix}.0.{101 + PEOPLE.index(name)}"

    def is_plugged_in(self, name: str) -> bool:
        """Whether a node has its network."""
        words = ("inspect", "--format", "{{json .NetworkSettings.Networks}}", self.containers[name])
        return bool(json.loads(docker(*words).stdout))

    def unplug(self, name: str) -> None:
        """Take a node's network away."""
        docker("network", "disconnect", self.lan(name), self.containers[name])

    def plug_in(self, name: str, *, host: int = 10) -> None:
        """Give a node its network back, with this number as the last of its address."""
        address = f"{self.project.prefix}.{1 + PEOPLE.index(name)}.{host}"
        docker("network", "connect", "--ip", address, self.lan(name), self.containers[name])

    def run_in(self, service: str, *words: str, timeout: float = 60) -> str:
        """Run a command in a container; fails with what it said when its exit code is not 0."""
        return docker("exec", self.containers[service], *words, timeout=timeout).stdout

    # --- a test's beginning ---------------------------------------------------------------------------------------

    @contextmanager
    def renewed(self, kinds: tuple[str, str], block: str = "none") -> Iterator[tuple[Watcher, Watcher]]:
        """Restart both nodes behind routers of these kinds; yields their watchers once both hold both slots."""
        docker("stop", "--time", "5", *(self.containers[name] for name in PEOPLE))
        for name, kind in zip(PEOPLE, kinds, strict=True):
            set_up = f"router nat {kind} && router block {block} && router direct on && router all on"
            self.run_in(f"router-{name}", "sh", "-c", set_up)
        self.docker("start", *PEOPLE)
        with ExitStack() as stack:
            watchers = [stack.enter_context(Watcher(name, self.containers[name])) for name in PEOPLE]
            for watcher in watchers:
                watcher.wait(
                    lambda status: slots_of(status) == OPERATORS, "slots at both relays", seconds=START_SECONDS
                )
            try:
                yield watchers[0], watchers[1]
            except AssertionError:
                for name, other in (PEOPLE, PEOPLE[::-1]):  # while they still know why
                    done = docker("exec", self.containers[name], "covey", "doctor", other, check=False)
                    print(f"{name}$ covey doctor {other}\n{done.stdout}{done.stderr}")  # noqa: T201 - pytest shows it
                raise
