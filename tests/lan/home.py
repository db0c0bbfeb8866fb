"""A home: a router that maps ports (miniupnpd), two machines behind it, and a stranger outside.

out 45.79.20.11 -- 45.79.40.101 router 192.168.1.1 -- one 192.168.1.2, two 192.168.1.3
"""

from __future__ import annotations

import queue
import subprocess
import threading
from pathlib import Path

from tests.support.namespaces import Namespaces

OUTSIDE = "45.79.40.101"
_RULES = """
flush ruleset
table inet filter {
  chain forward { type filter hook forward priority 0; policy drop;
    ct state established,related accept
    iifname "lan" oifname "wan" accept
    jump miniupnpd
  }
  chain input { type filter hook input priority 0; policy accept;
    iifname "wan" ct state established,related accept
    iifname "wan" drop
  }
  chain prerouting { type nat hook prerouting priority -100; policy accept; jump prerouting_miniupnpd; }
  chain postrouting { type nat hook postrouting priority 100; policy accept;
    jump postrouting_miniupnpd
    oifname "wan" masquerade
  }
  chain miniupnpd { }
  chain prerouting_miniupnpd { }
  chain postrouting_miniupnpd { }
}
"""
# Chains as above in a table that is there already: miniupnpd changes what they hold, and makes none.
_CONFIG = """
ext_ifname=wan
listening_ip=lan
enable_natpmp={pcp}
enable_upnp=yes
min_lifetime=5
max_lifetime=86400
secure_mode=yes
system_uptime=no
uuid=00000000-1111-2222-3333-444444444444
upnp_table_name=filter
upnp_nat_table_name=filter
upnp_forward_chain=miniupnpd
upnp_nat_chain=prerouting_miniupnpd
upnp_nat_postrouting_chain=postrouting_miniupnpd
allow 1024-65535 192.168.1.0/24 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
"""


class _Daemon:
    """A process whose lines are read to the end, so that it never waits for a reader."""

    def __init__(self, words: list[str]) -> None:
        self._process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as stream:
            for line in stream:
                self._lines.put(line)
        self._lines.put(None)

    def await_line(self, text: str) -> None:
        heard = []
        while (line := self._lines.get(timeout=20)) is not None:
            heard.append(line)
            if text in line:
                return
        raise AssertionError(f"it ended: {heard}")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()


class Home:
    """The namespaces, and the router's daemon."""

    def __init__(self, folder: Path) -> None:
        self.spaces = Namespaces()
        self._folder = folder
        self._daemon: _Daemon | None = None

    def up(self) -> None:
        """Build it; nothing maps ports yet."""
        spaces = self.spaces
        for name in ("out", "router", "one", "two"):
            spaces.add(name)
        spaces.cable(("router", "wan"), ("out", "eth0"))
        spaces.cable(("router", "lan1"), ("one", "eth0"))
        spaces.cable(("router", "lan2"), ("two", "eth0"))
        spaces.bridge("router", "lan", ("lan1", "lan2"))
        spaces.address("out", "eth0", "45.79.20.11/8")
        spaces.address("router", "wan", f"{OUTSIDE}/8")
        spaces.address("router", "lan", "192.168.1.1/24")
        for name, address in (("one", "192.168.1.2"), ("two", "192.168.1.3")):
            spaces.address(name, "eth0", f"{address}/24")
            spaces.ip(name, "route", "add", "default", "via", "192.168.1.1")
        spaces.run("router", "sysctl", "-qw", "net.ipv4.ip_forward=1")
        spaces.nft("router", _RULES)

    def start_router(self, *, pcp: bool = True) -> None:
        """Start the daemon; returns once it listens."""
        config = self._folder / "miniupnpd.conf"
        config.write_text(_CONFIG.format(pcp="yes" if pcp else "no"))
        self._daemon = _Daemon(
            self.spaces.words("router", "miniupnpd", "-d", "-f", str(config), "-P", str(self._folder / "miniupnpd.pid"))
        )
        self._daemon.await_line("port 5351" if pcp else "HTTP listening")

    def stop_router(self) -> None:
        """End the daemon as a power cut does; its rules go too."""
        if self._daemon is not None:
            self._daemon.kill()
            self._daemon = None
        self.spaces.nft("router", _RULES)

    def rules(self) -> list[str]:
        """Return the ports that the router lets in, such as `tcp 4001 192.168.1.2:4001`."""
        found = []
        for line in self.spaces.run(
            "router", "nft", "list", "chain", "inet", "filter", "prerouting_miniupnpd"
        ).splitlines():
            if "dnat" in line:
                words = line.split()
                protocol = {"0x6": "tcp", "0x11": "udp"}[words[words.index("@nh,72,8") + 1]]
                found.append(f"{protocol} {words[words.index('dport') + 1]} {words[-1]}")
        return sorted(found)

    def down(self) -> None:
        """Take it all away."""
        if self._daemon is not None:
            self.stop_router()
        self.spaces.remove()
