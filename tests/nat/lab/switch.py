"""A userspace Ethernet switch that delivers every frame a fixed time late, where the kernel has no netem.

    python3 switch.py MILLISECONDS NAMESPACE:TAP...

Prints "ready" when all taps are open. Needs root and /dev/net/tun; the taps exist already, in their namespaces.
"""

import ctypes
import fcntl
import heapq
import os
import selectors
import struct
import sys
import time
from pathlib import Path

_TUNSETIFF = 0x400454CA  # linux/if_tun.h
_TAP_WITHOUT_HEADER = 0x0002 | 0x1000  # IFF_TAP | IFF_NO_PI
_FRAMES_AT_ONCE = 64  # of one port, before the others have their turn
_FRAME_BYTES = 65_536


def open_taps(specs: list[str]) -> list[int]:
    """Return a descriptor of each tap; the process is in its own namespace again afterwards."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    taps = []
    for spec in specs:
        namespace, device = spec.split(":")
        there = os.open(Path("/run/netns", namespace), os.O_RDONLY)
        if libc.setns(there, 0) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")
        os.close(there)
        tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH", device.encode(), _TAP_WITHOUT_HEADER))
        taps.append(tap)
    libc.setns(home, 0)
    return taps


def forward(taps: list[int], delay_seconds: float) -> None:
    """Forward for ever: broadcasts and unknown destinations to all other ports, the rest to where it was seen."""
    selector = selectors.DefaultSelector()
    for tap in taps:
        selector.register(tap, selectors.EVENT_READ)
    port_of: dict[bytes, int] = {}
    late: list[tuple[float, int, list[int], bytes]] = []
    number = 0
    while True:
        for key, _ in selector.select(max(0.0, late[0][0] - time.monotonic()) if late else None):
            for _ in range(_FRAMES_AT_ONCE):
                try:
                    frame = os.read(key.fd, _FRAME_BYTES)
                except BlockingIOError:
                    break
                port_of[frame[6:12]] = key.fd
                known = None if frame[0] & 1 else port_of.get(frame[:6])
                to = [tap for tap in taps if tap != key.fd] if known is None else [known]
                number += 1
                heapq.heappush(late, (time.monotonic() + delay_seconds, number, to, frame))
        while late and late[0][0] <= time.monotonic():
            _, _, to, frame = heapq.heappop(late)
            for tap in to:
                try:
                    os.write(tap, frame)
                except OSError:  # that host's interface is down: the frame is lost, as on a cable
                    pass


if __name__ == "__main__":
    opened = open_taps(sys.argv[2:])
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    forward(opened, float(sys.argv[1]) / 1000)
