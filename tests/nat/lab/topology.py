"""A small internet in network namespaces: two relays, and two hosts behind a NAT router each.

    relay-one 45.10.0.20 --+                  +-- router a 45.30.0.101 | 192.168.1.1 -- host a 192.168.1.10
                           +-- the internet --+
    relay-two 45.20.0.30 --+                  +-- router b 45.40.0.102 | 10.7.0.1    -- host b 10.7.0.10

The internet is a userspace switch (switch.py) that delivers every frame 20 ms late: a round trip from a host to a
relay, or straight to the other host, takes 40 ms, through a relay 80 ms. (Its ends know each other's hardware
addresses from the start: ARP with 40 ms would be no internet.) Nobody has a route to anywhere else: no packet leaves
the machine. The routers are those of the container tests (deploy/nat/router.sh).

Owns: namespaces, cables, routers, and their end. Needs root, iproute2, nftables, /dev/net/tun. Never touches: Covey.
"""

import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
HERE = Path(__file__).resolve().parent
ROUTER = ROOT / "deploy" / "nat" / "router.sh"
DELAY_MILLISECONDS = 20
WAN = "45.0.0.0/8"
KINDS = {1: "cone", 2: "symmetric", 3: "carrier", 4: "full-cone"}  # as the measurements number them
RELAYS = {"relay-one": "45.10.0.20", "relay-two": "45.20.0.30"}
ROUTERS = {"a": "45.30.0.101", "b": "45.40.0.102"}
LANS = {"a": "192.168.1", "b": "10.7.0"}
_STEP_SECONDS = 30
_numbers = itertools.count(1)


class LabUnavailable(Exception):
    """This machine cannot have the lab; the text says why."""


class Lab:
    """The namespaces of one run; their names begin with `prefix`."""

    def __init__(self, prefix: str, folder: Path) -> None:
        self.prefix = prefix
        self._folder = folder

    def name(self, place: str) -> str:
        """Return the name of a place's namespace: relay-one, relay-two, router-a, router-b, a, b."""
        return f"{self.prefix}-{place}"

    def words(self, place: str, *words: str | Path) -> list[str]:
        """Return the command line that runs `words` at a place."""
        return ["ip", "netns", "exec", self.name(place), *map(str, words)]

    def run(self, place: str, *words: str | Path, env: Mapping[str, str] | None = None) -> str:
        """Run a command at a place; fails with what it said."""
        return _run(self.words(place, *words), env=env)

    def router(self, host: str, *words: str) -> str:
        """Tell the router of host `a` or `b` something (deploy/nat/router.sh)."""
        env = {
            "PATH": os.environ["PATH"],
            "WAN": WAN,
            "LAN": f"{LANS[host]}.0/24",
            "GATEWAY": f"{LANS[host]}.1/24",
            "SERVERS": ",".join(RELAYS.values()),
            "ROUTER_STATE": str(self._folder / f"router-{host}"),
            "ROUTER_FORGET": f"{sys.executable} {HERE / 'forget.py'}",
        }
        return self.run(f"router-{host}", ROUTER, *words, env=env)


def check_machine() -> None:
    """Raise `LabUnavailable` where namespaces cannot be made."""
    if os.geteuid() != 0:
        raise LabUnavailable("network namespaces need root")
    for tool in ("ip", "nft"):
        if shutil.which(tool, path=_path()) is None:
            raise LabUnavailable(f"{tool} is not installed")
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        raise LabUnavailable("there is no /dev/net/tun")
    probe = f"covey-lab-probe-{os.getpid()}"
    try:
        _run(["ip", "netns", "add", probe])
        _run(["ip", "netns", "exec", probe, "nft", "add table ip probe"])
    except AssertionError as exc:
        raise LabUnavailable(str(exc)) from exc
    finally:
        subprocess.run(["ip", "netns", "del", probe], capture_output=True, timeout=_STEP_SECONDS, check=False)


@contextmanager
def lab(folder: Path, *, delay_milliseconds: float = DELAY_MILLISECONDS) -> Iterator[Lab]:
    """Have the lab for the length of the block; what runs in it then ends with it, also after a failure."""
    check_machine()
    # CI names its run, to find what it left behind when it is killed.
    one = Lab(f"covey-lab-{os.environ.get('COVEY_E2E_RUN', 'own')}-{os.getpid()}-{next(_numbers)}", folder)
    places = (*RELAYS, *(f"router-{host}" for host in ROUTERS), *ROUTERS)
    switch: subprocess.Popen[str] | None = None
    try:
        for place in places:
            _run(["ip", "netns", "add", one.name(place)])
            one.run(place, "ip", "link", "set", "lo", "up")
        ends = {**RELAYS, **{f"router-{host}": address for host, address in ROUTERS.items()}}
        for place, address in ends.items():
            one.run(place, "ip", "tuntap", "add", "dev", "wan", "mode", "tap")
            one.run(place, "ip", "addr", "add", f"{address}/{WAN.partition('/')[2]}", "dev", "wan")
            one.run(place, "ip", "link", "set", "wan", "up")
        _introduce(one, ends)
        for host in ROUTERS:
            _connect(one, host)
            one.router(host, "set-up")
        words = [sys.executable, HERE / "switch.py", str(delay_milliseconds), *(f"{one.name(end)}:wan" for end in ends)]
        switch = subprocess.Popen(words, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        assert switch.stdout is not None
        if switch.stdout.readline() != "ready\n":
            raise AssertionError("the switch did not start")
        yield one
    finally:
        for place in places:
            _clear(one.name(place))
        if switch is not None:
            switch.kill()
            switch.wait(_STEP_SECONDS)
            assert switch.stdout is not None
            switch.stdout.close()


def _connect(one: Lab, host: str) -> None:
    router, subnet = f"router-{host}", LANS[host]
    there = ["peer", "name", "eth0", "netns", one.name(host)]
    _run(["ip", "link", "add", "lan", "netns", one.name(router), "type", "veth", *there])
    one.run(router, "ip", "addr", "add", f"{subnet}.2/24", "dev", "lan")
    one.run(router, "ip", "link", "set", "lan", "up")
    one.run(router, "sysctl", "-qw", "net.ipv4.ip_forward=1")
    one.run(host, "ip", "addr", "add", f"{subnet}.10/24", "dev", "eth0")
    one.run(host, "ip", "link", "set", "eth0", "up")
    one.run(host, "ip", "route", "add", "default", "via", f"{subnet}.1")


def _introduce(one: Lab, ends: Mapping[str, str]) -> None:
    hardware = {end: one.run(end, "cat", "/sys/class/net/wan/address").strip() for end in ends}
    for end in ends:
        for other in ends.keys() - {end}:
            neighbour = (ends[other], "lladdr", hardware[other], "dev", "wan", "nud", "permanent")
            one.run(end, "ip", "neigh", "replace", *neighbour)


def _clear(namespace: str) -> None:
    """End what runs in a namespace, then the namespace; it may be half made or gone."""
    for words in (["kill", "-KILL", *_processes(namespace)], ["ip", "netns", "del", namespace]):
        if len(words) > 2:
            subprocess.run(words, capture_output=True, timeout=_STEP_SECONDS, check=False)


def _processes(namespace: str) -> Sequence[str]:
    found = subprocess.run(
        ["ip", "netns", "pids", namespace], capture_output=True, text=True, timeout=_STEP_SECONDS, check=False
    )
    return found.stdout.split()


def _run(words: Sequence[str], *, env: Mapping[str, str] | None = None) -> str:
    path = {"PATH": _path()}
    done = subprocess.run(
        words, env={**(os.environ if env is None else env), **path}, stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=_STEP_SECONDS, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(words)} ended with {done.returncode}: {(done.stdout + done.stderr).strip()}")
    return done.stdout


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"  # where Debian keeps what only root needs
