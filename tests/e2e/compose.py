"""One run of docker-compose.yml under a project name, subnet and ports of its own.

Owns: what a test asks of the container engine. Everything goes through the `docker` command, as a user types it.
"""

import contextlib
import functools
import ipaddress
import json
import os
import random
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
TAG = os.environ.get("COVEY_E2E_TAG", "e2e")


def docker(*words: str, check: bool = True, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run one docker command; with `check`, an exit code other than 0 fails the test with what the command said."""
    return run(["docker", *words], check=check, timeout=timeout)


def run(
    words: Sequence[str], *, check: bool, timeout: float, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        words, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False
    )
    if check and done.returncode != 0:
        said = (done.stdout[-4000:] + "\n" + done.stderr[-8000:]).strip()
        raise AssertionError(f"{' '.join(words)} ended with {done.returncode}:\n{said}")
    return done


def free_prefix() -> str:
    """Return the first two numbers of a /16 of 10.0.0.0/8 that no network of this engine and this machine uses."""
    names = docker("network", "ls", "--quiet").stdout.split()
    used = [
        ipaddress.ip_network(config["Subnet"])
        for network in json.loads(docker("network", "inspect", *names).stdout)
        for config in network["IPAM"]["Config"] or []
    ]
    first = os.getpid() % 49  # two runs that begin together do not take the same one
    for number in (201 + (first + step) % 49 for step in range(49)):
        candidate = ipaddress.ip_network(f"10.{number}.0.0/16")
        if not any(candidate.overlaps(network) for network in used if network.version == candidate.version):
            return f"10.{number}"
    raise AssertionError("no free /16 in 10.201.0.0 to 10.249.0.0")


def free_ports(count: int) -> list[int]:
    """Return ports that nobody uses now, neither TCP nor UDP, and that the kernel gives to nobody by itself."""
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(
            20_000, 32_000
        )  # below ip_local_port_range: other programs' connections take no such port
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp, contextlib.suppress(OSError):
            for one in (tcp, udp):
                one.bind(("127.0.0.1", port))
            if port not in found:
                found.append(port)
    return found


@dataclass
class Project:
    """A compose project of this run of the tests."""

    part: str
    profile: str | None = None
    settings: dict[str, str] = field(default_factory=dict)
    file: str = "docker-compose.yml"
    more: tuple[str, ...] = ()  # files that add to it

    def __post_init__(self) -> None:
        # Two runs on one machine do not meet; CI names its run, to find what it left behind when it is killed.
        self.name = f"covey-e2e-{os.environ.get('COVEY_E2E_RUN', os.getpid())}-{self.part}"
        self.prefix = free_prefix()
        ports = free_ports(4)
        names = ("COVEY_BOOTSTRAP_PORT", "COVEY_BOOTSTRAP_WS_PORT", "COVEY_RELAY_PORT", "COVEY_RELAY_WS_PORT")
        self.ports = dict(zip(names, ports, strict=True))
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("COVEY_", "COMPOSE_"))}
        self.env = {
            **clean,
            "COVEY_TAG": TAG,
            "COVEY_SUBNET_PREFIX": self.prefix,
            **{name: str(port) for name, port in self.ports.items()},
            **self.settings,
        }

    def compose(self, *words: str, check: bool = True, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Run `docker compose WORDS` for this project."""
        files = [word for file in (self.file, *self.more) for word in ("--file", file)]
        project = ["--project-name", self.name, "--project-directory", ".", *files]
        profile = ["--profile", self.profile] if self.profile else []
        return run(
            ["docker", "compose", *project, *profile, *words],
            check=check, timeout=timeout, env=self.env,
        )  # fmt: skip

    def up(self, *services: str) -> None:
        """Start it and wait until all is healthy. Without --build: the code may change while the tests run."""
        self.compose("up", "--wait", "--wait-timeout", "180", *services, timeout=1200)

    def down(self) -> None:
        """Remove all that belongs to it."""
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "2", check=False)

    def run_in(self, service: str, *words: str, check: bool = True, timeout: float = 120) -> str:
        """Run a command in a service's container and return what it printed."""
        return self.compose("exec", "-T", service, *words, check=check, timeout=timeout).stdout

    def code_in(self, service: str, *words: str) -> int:
        """Run a command in a service's container and return its exit code."""
        return self.compose("exec", "-T", service, *words, check=False).returncode

    def covey(self, service: str, *words: str) -> Any:
        """Run `covey WORDS --json` in a node's container and return the decoded answer."""
        return json.loads(self.run_in(service, "covey", *words, "--json"))

    def logs(self, *services: str) -> str:
        """Return the logs without the services' names."""
        return self.compose("logs", "--no-color", "--no-log-prefix", *services).stdout

    def inspect(self, service: str) -> dict[str, Any]:
        """Return `docker inspect` of a service's container."""
        container = self.compose("ps", "--all", "--quiet", service).stdout.strip()
        found: dict[str, Any] = json.loads(docker("inspect", container).stdout)[0]
        return found


@functools.cache
def build_images() -> None:
    """Build all images with the tag of the tests, one after the other; once in a run of the tests.

    Engine 26.1 died once (nil pointer in BuildKit's walkProvenance) while builds that share stages ran side by side.
    """
    project = Project("build", profile="demo")
    for service in ("bootstrap", "relay", "alice", "introduce", "router-alice"):
        project.compose("build", service, timeout=1500)


def require_engine() -> None:
    """Skip without a container engine, or fail where one is required (COVEY_TEST_REQUIRE_ENGINE=1, as in CI)."""
    problem = _missing_engine()
    if problem and os.environ.get("COVEY_TEST_REQUIRE_ENGINE") == "1":
        pytest.fail(f"an engine is required here, but {problem}", pytrace=False)
    if problem:
        pytest.skip(problem)


def _missing_engine() -> str | None:
    if shutil.which("docker") is None:
        return "docker is not installed"
    try:
        docker("info", timeout=20)
        docker("compose", "version", timeout=20)
    except (AssertionError, subprocess.TimeoutExpired) as exc:
        return f"no container engine answers: {str(exc).splitlines()[-1]}"
    return None


def can_connect(project: Project, service: str, host: str, port: int) -> bool:
    """Return whether a plain TCP connection from that service's container opens within two seconds."""
    program = f"import socket; socket.create_connection(({host!r}, {port}), 2).close()"
    return project.code_in(service, "python3", "-c", program) == 0
