"""Who is asked over UPnP: the gateway, whatever anybody on the network answers. The real router: tests/lan."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio

from covey_core.network import Scope
from covey_node import limits
from covey_node.net import portmap_upnp
from covey_node.net.portmap import PortMapper
from covey_node.net.portmap_gateway import Gateway
from covey_node.net.portmap_upnp import Upnp
from covey_node.protocol.portmap import Port, PortmapFailed, Protocol

SERVICE = "urn:schemas-upnp-org:service:WANIPConnection:1"


def description(control_url: str) -> bytes:
    return f"""<?xml version="1.0"?><root xmlns="urn:schemas-upnp-org:device-1-0"><device>
<deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:1</deviceType><serviceList><service>
<serviceType>{SERVICE}</serviceType><controlURL>{control_url}</controlURL></service></serviceList></device></root>
""".encode()


@contextmanager
def web(ip: str, page: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """A web server that answers everything with one page; its port, and the first lines of what it was asked."""
    asked: list[bytes] = []
    server = socket.create_server((ip, 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                asked.append(connection.recv(4096).partition(b"\r\n")[0])
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(page) + page)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield server.getsockname()[1], asked
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


@contextmanager
def answering(monkeypatch: pytest.MonkeyPatch, *locations: str) -> Iterator[None]:
    """Somebody at the gateway's address who answers each search with these."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        monkeypatch.setattr(portmap_upnp, "PORT", udp.getsockname()[1])

        def serve() -> None:
            while (received := udp.recvfrom(2048))[0] != b"end":
                for location in locations:
                    udp.sendto(f"HTTP/1.1 200 OK\r\nLOCATION: {location}\r\n\r\n".encode(), received[1])

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        udp.sendto(b"end", udp.getsockname())
        thread.join()


async def test_neither_an_answer_nor_a_description_has_us_ask_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PORTMAP_DISCOVER_MILLISECONDS", 200)
    with web("127.0.0.2", description("/control")) as (victim_port, victim):
        elsewhere = f"http://127.0.0.2:{victim_port}/control"
        with (
            web("127.0.0.1", description(elsewhere)) as (port, router),
            answering(monkeypatch, f"http://127.0.0.2:{victim_port}/rootDesc.xml", f"http://127.0.0.1:{port}/x.xml"),
        ):
            with trio.fail_after(20), pytest.raises(PortmapFailed, match="offers no UPnP"):
                await Upnp(Gateway("127.0.0.1", "127.0.0.1"), lease_seconds=60).map(Port(Protocol.TCP, 4001), None)
            assert [line.split()[:2] for line in router] == [[b"GET", b"/x.xml"]]
        assert victim == []


async def test_a_router_that_drips_its_answers_holds_one_thread_however_often_it_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "PORTMAP_DISCOVER_SECONDS", 0.05)
    over, begun = threading.Event(), list[int]()

    def drips(_gateway: Gateway) -> tuple[str, ...]:
        begun.append(threading.get_ident())
        over.wait(20)
        return ()

    monkeypatch.setattr(portmap_upnp, "_descriptions", drips)
    here = Gateway("127.0.0.1", "127.0.0.1")
    mapper = PortMapper(tuple, scope=Scope(), secret=bytes(32), gateway=lambda: here)
    try:
        for _ in range(3):
            way = mapper._make_methods(here)[-1]
            with pytest.raises(PortmapFailed, match="no answer"):
                await way.map(Port(Protocol.TCP, 4001), None)
        assert len(begun) == 1
    finally:
        over.set()
