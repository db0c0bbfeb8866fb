"""Plain sockets that show what a router does. Each command prints one JSON line; no word of Covey in it.

serve               answers every datagram to 9000 and every connection to 9001 with the address that it sees
udp PORT SERVER...  the address that each server sees for one UDP socket, null where none answers
tcp PORT SERVER...  the same for TCP connections from one port
open SERVER PORT    has mappings from here through SERVER and says them; then whose datagrams and connections came in
knock HOST PORT     one datagram, and whether a connection opens
"""

import json
import select
import socket
import sys
import time

UDP, TCP = 9000, 9001
PATIENCE_SECONDS = 1.0


def tell(value: object) -> None:
    """Print a line now."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def bound(kind: socket.SocketKind, port: int) -> socket.socket:
    """Return a socket on this port, beside others on it."""
    one = socket.socket(type=kind)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    one.bind(("0.0.0.0", port))
    one.settimeout(PATIENCE_SECONDS)
    return one


def serve() -> None:
    """Answer until killed."""
    udp, tcp = bound(socket.SOCK_DGRAM, UDP), bound(socket.SOCK_STREAM, TCP)
    tcp.listen()
    tell("ready")
    while True:
        for one in select.select([udp, tcp], [], [])[0]:
            if one is udp:
                _, where = udp.recvfrom(2048)
                udp.sendto(json.dumps(where).encode(), where)
            else:
                with tcp.accept()[0] as connection:
                    connection.sendall(json.dumps(connection.getpeername()).encode())


def seen_udp(one: socket.socket, server: str) -> list[object] | None:
    """Return how a server sees a UDP socket."""
    try:
        one.sendto(b"?", (server, UDP))
        found: list[object] = json.loads(one.recvfrom(2048)[0])
    except OSError:
        return None
    return found


def seen_tcp(port: int, server: str) -> list[object] | None:
    """Return how a server sees a TCP connection from a port."""
    with bound(socket.SOCK_STREAM, port) as one:
        try:
            one.connect((server, TCP))
            found: list[object] = json.loads(one.recv(2048))
        except (OSError, ValueError):
            return None
    return found


def hold_open(server: str, port: int) -> None:
    """Have a mapping of UDP `port` and one of TCP `port`, through a server; tell who else comes."""
    with bound(socket.SOCK_DGRAM, port) as udp, bound(socket.SOCK_STREAM, port) as tcp:
        tcp.listen()
        with bound(socket.SOCK_STREAM, port) as held:
            held.connect((server, TCP))
            tell({"udp": seen_udp(udp, server), "tcp": json.loads(held.recv(2048))})
            datagrams, connections = set(), set()
            end = time.monotonic() + 2 * PATIENCE_SECONDS
            while (left := end - time.monotonic()) > 0:
                for one in select.select([udp, tcp], [], [], left)[0]:
                    if one is udp:
                        datagrams.add(udp.recvfrom(2048)[1][0])
                    else:
                        with tcp.accept()[0] as connection:
                            connections.add(connection.getpeername()[0])
    tell({"datagrams": sorted(datagrams), "connections": sorted(connections)})


def knock(host: str, port: int) -> None:
    """Come unasked."""
    with socket.socket(type=socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
        udp.sendto(b"!", (host, port))
        tcp.settimeout(PATIENCE_SECONDS)
        tell(tcp.connect_ex((host, port)) == 0)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve"]:
            serve()
        case ["udp", port, *servers]:
            with bound(socket.SOCK_DGRAM, int(port)) as asker:
                tell([seen_udp(asker, server) for server in servers])
        case ["tcp", port, *servers]:
            tell([seen_tcp(int(port), server) for server in servers])
        case ["open", server, port]:
            hold_open(server, int(port))
        case ["knock", host, port]:
            knock(host, int(port))
