"""Empties the connection-tracking table of the network namespace it runs in, as `conntrack -F` does.

The lab's routers use it (ROUTER_FORGET), so that the machine needs no further package.
"""

import os
import socket
import struct

_NETLINK_NETFILTER = 12  # linux/netlink.h
_CTNETLINK_DELETE = 1 << 8 | 2  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE
_REQUEST_AND_ACK = 1 | 4  # NLM_F_REQUEST | NLM_F_ACK


def main() -> None:
    """Delete all entries; the exit code is 1 when the kernel refuses."""
    body = struct.pack("BBH", socket.AF_INET, 0, 0)  # nfgenmsg
    header = struct.pack("IHHII", 16 + len(body), _CTNETLINK_DELETE, _REQUEST_AND_ACK, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as netlink:
        netlink.send(header + body)
        (error,) = struct.unpack("i", netlink.recv(4096)[16:20])
    if error:
        raise SystemExit(f"the mappings were not forgotten: {os.strerror(-error)}")


if __name__ == "__main__":
    main()
