"""The ports that the kernel chose for us, kept over restarts: contacts who know our address find us again.

Owns: which free port a listener on port 0 takes. Never touches: ports that the user chose, sockets beyond a probe.
"""

from __future__ import annotations

import json
import socket

from covey_node.protocol.addresses import host_of
from covey_node.service.ledger import Ledger
from covey_node.store import account
from covey_node.store.database import Database
from covey_node.store.tx import Tx

_META = "ports"
_KINDS = {"/tcp/": socket.SOCK_STREAM, "/udp/": socket.SOCK_DGRAM}


async def remembered(database: Database, listen: tuple[str, ...]) -> tuple[str, ...]:
    """Return the listen addresses, with the port of the last run in place of port 0 where it is still free."""
    known = await database.read(_load)
    return tuple(_with_port(addr, known.get(addr)) for addr in listen)


async def remember(ledger: Ledger, listen: tuple[str, ...], bound: tuple[str, ...]) -> None:
    """Keep the ports that listeners on port 0 were given; `bound` are the addresses that they really have."""
    wanted = [addr for addr in listen if _kind_of(addr) is not None]
    ports = {addr: port for addr in wanted for real in bound if (port := _port_of(addr, real)) is not None}
    if ports and ports != await ledger.read(_load):
        await ledger.note(lambda tx, _: account.set_meta(tx, _META, json.dumps(ports).encode()))


def _load(tx: Tx) -> dict[str, int]:
    stored = account.get_meta(tx, _META)
    return {} if stored is None else {str(addr): int(port) for addr, port in json.loads(stored).items()}


def _kind_of(addr: str) -> str | None:
    """Return "/tcp/" or "/udp/" for an address with port 0, None for one whose port is chosen."""
    return next((kind for kind in _KINDS if f"{kind}0/" in f"{addr}/"), None)


def _with_port(addr: str, port: int | None) -> str:
    kind = _kind_of(addr)
    if kind is None or port is None or not _is_free(addr, port, _KINDS[kind]):
        return addr
    return addr.replace(f"{kind}0", f"{kind}{port}")


def _port_of(addr: str, real: str) -> int | None:
    """Return the port in `real` when it is `addr` with a port in place of 0."""
    kind = _kind_of(addr)
    if kind is None:
        return None
    before, _, after = addr.partition(f"{kind}0")
    head, found, tail = real.partition("/p2p/")[0].partition(kind)
    port, slash, rest = tail.partition("/")
    return int(port) if found and head == before and slash + rest == after and port.isdecimal() else None


def _is_free(addr: str, port: int, kind: socket.SocketKind) -> bool:
    ip = host_of(addr) or ""
    with socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, kind) as probe:
        if kind is socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ip, port))
        except OSError:
            return False
        return True
