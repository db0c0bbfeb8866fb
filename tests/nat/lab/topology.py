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

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.support.namespaces import Namespaces, why_not

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


class LabUnavailable(Exception):
    """This machine cannot have the lab; the text says why."""


class Lab(Namespaces):
    """The namespaces of one run. Places: relay-one, relay-two, router-a, router-b, a, b."""

    def __init__(self, prefix: str, folder: Path) -> None:
        super().__init__(prefix)
        self._folder = folder

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
    problem = why_not()
    if problem is not None:
        raise LabUnavailable(problem)
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        raise LabUnavailable("there is no /dev/net/tun")


@contextmanager
def lab(folder: Path, *, delay_milliseconds: float = DELAY_MILLISECONDS) -> Iterator[Lab]:
    """Have the lab for the length of the block; what runs in it then ends with it, also after a failure."""
    check_machine()
    # CI names its run, to find what it left behind when it is killed.
    one = Lab(f"covey-lab-{os.environ.get('COVEY_E2E_RUN', 'own')}", folder)
    places = (*RELAYS, *(f"router-{host}" for host in ROUTERS), *ROUTERS)
    switch: subprocess.Popen[str] | None = None
    try:
        for place in places:
            one.add(place)
        ends = {**RELAYS, **{f"router-{host}": address for host, address in ROUTERS.items()}}
        for place, address in ends.items():
            one.ip(place, "tuntap", "add", "dev", "wan", "mode", "tap")
            one.address(place, "wan", f"{address}/{WAN.partition('/')[2]}")
            one.ip(place, "link", "set", "wan", "up")
        _introduce(one, ends)
        for host in ROUTERS:
            _connect(one, host)
            one.router(host, "set-up")
        taps = (f"{one.name(end)}:wan" for end in ends)
        words = [sys.executable, str(HERE / "switch.py"), str(delay_milliseconds), *taps]
        switch = subprocess.Popen(words, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        assert switch.stdout is not None
        if switch.stdout.readline() != "ready\n":
            raise AssertionError("the switch did not start")
        yield one
    finally:
        one.remove()
        if switch is not None:
            switch.kill()
            switch.wait(_STEP_SECONDS)
            assert switch.stdout is not None
            switch.stdout.close()


def _connect(one: Lab, host: str) -> None:
    router, subnet = f"router-{host}", LANS[host]
    one.cable((router, "lan"), (host, "eth0"))
    one.address(router, "lan", f"{subnet}.2/24")
    one.run(router, "sysctl", "-qw", "net.ipv4.ip_forward=1")
    one.address(host, "eth0", f"{subnet}.10/24")
    one.ip(host, "route", "add", "default", "via", f"{subnet}.1")


def _introduce(one: Lab, ends: Mapping[str, str]) -> None:
    hardware = {end: one.run(end, "cat", "/sys/class/net/wan/address").strip() for end in ends}
    for end in ends:
        for other in ends.keys() - {end}:
            neighbour = (ends[other], "lladdr", hardware[other], "dev", "wan", "nud", "permanent")
            one.ip(end, "neigh", "replace", *neighbour)
