"""Nobody gets to a route without the token, from another site, or with too large a body."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from covey_node.api.limits import BODY_BYTES
from tests.node.api.serving import DEADLINE_SECONDS, Served, serving


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One node for all: nothing here changes it."""
    with serving(tmp_path_factory.mktemp("home")) as one:
        yield one


def port_of(served: Served) -> int:
    return int(served.address.rpartition(":")[2])


def raw(served: Served, request: bytes) -> bytes:
    """Send bytes as they are; return all that comes until the server closes."""
    with socket.create_connection(("127.0.0.1", port_of(served)), timeout=DEADLINE_SECONDS) as sock:
        sock.sendall(request)
        answer = b""
        while data := sock.recv(65536):
            answer += data
        return answer


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Bearer wrong", "Basic {token}", "{token}", "Bearer {token}x", "Bearer ü"]
)
def test_a_request_without_the_token_is_unauthorized(served: Served, header: str) -> None:
    status, body = served.ask("GET", "/v1/status", headers={"authorization": header.format(token=served.bearer)})
    assert (status, body["error"]["code"]) == (401, "unauthorized")
    assert served.bearer not in body["error"]["message"]


def test_the_openapi_document_and_unknown_paths_need_the_token_too(served: Served) -> None:
    for path in ("/openapi.json", "/nothing", "/v1/events", "/"):
        assert served.ask("GET", path, headers={"authorization": ""})[0] == 401, path


def test_the_scheme_is_written_in_any_case(served: Served) -> None:
    assert served.ask("GET", "/v1/status", headers={"authorization": f"bEARER {served.bearer}"})[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{port}",
        "127.0.0.1.evil.example",
        "localhost.evil.example:{port}",
        "[::2]:{port}",
        "[::1]x",
        "192.168.1.5:{port}",
        "user@localhost",
    ],
)
def test_another_host_name_is_refused_so_that_dns_rebinding_fails(served: Served, host: str) -> None:
    status, body = served.ask("GET", "/v1/status", headers={"host": host.format(port=port_of(served))})
    assert (status, body["error"]["code"]) == (403, "forbidden")


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:{port}", "127.0.0.1:{port}", "[::1]:{port}", "localhost:8080"]
)
def test_this_machine_is_asked_for_by_all_its_names_and_through_tunnels(served: Served, host: str) -> None:
    assert served.ask("GET", "/v1/status", headers={"host": host.format(port=port_of(served))})[0] == 200


def test_a_request_without_a_host_is_refused(served: Served) -> None:
    request = f"GET /v1/status HTTP/1.0\r\nAuthorization: Bearer {served.bearer}\r\n\r\n"
    assert raw(served, request.encode()).startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "https://127.0.0.1:{port}", "http://127.0.0.1:1", "http://localhost:{port}", ""],
)
def test_a_page_of_another_origin_is_refused_even_with_the_token(served: Served, origin: str) -> None:
    headers = {"host": f"127.0.0.1:{port_of(served)}", "origin": origin.format(port=port_of(served)) or "http://"}
    status, body = served.ask("GET", "/v1/status", headers=headers)
    assert (status, body["error"]["code"]) == (403, "forbidden")


def test_a_page_of_our_own_origin_passes(served: Served) -> None:
    host = f"127.0.0.1:{port_of(served)}"
    assert served.ask("GET", "/v1/status", headers={"host": host, "origin": f"http://{host}"})[0] == 200


@pytest.mark.parametrize(
    ("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)]
)
def test_what_browsers_say_about_the_asking_site_counts(served: Served, site: str, status: int) -> None:
    assert served.ask("GET", "/v1/status", headers={"sec-fetch-site": site})[0] == status


def test_health_checks_need_no_token_but_the_right_host(served: Served) -> None:
    bare = {"authorization": ""}
    assert served.ask("GET", "/livez", headers=bare)[0] == 200
    assert served.ask("GET", "/livez", headers={**bare, "host": "evil.example"})[0] == 403


def test_a_preflight_gets_no_permission(served: Served) -> None:
    connection = served.connect()
    headers = {"origin": "http://evil.example", "access-control-request-method": "POST"}
    connection.request("OPTIONS", "/v1/status", headers=headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    assert answer.status == 403
    assert not [name for name, _ in answer.getheaders() if name.lower().startswith("access-control")]


def test_answers_are_not_cached_or_sniffed_and_name_no_server(served: Served) -> None:
    connection = served.connect()
    connection.request("GET", "/v1/status", headers={"authorization": f"Bearer {served.bearer}"})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    assert answer.getheader("cache-control") == "no-store"
    assert answer.getheader("x-content-type-options") == "nosniff"
    assert answer.getheader("server") is None


def test_a_declared_body_over_the_limit_is_refused_before_it_comes(served: Served) -> None:
    head = (
        f"POST /v1/contacts/bob/messages HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {served.bearer}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {BODY_BYTES + 1}\r\n\r\n"
    )
    answer = raw(served, head.encode())
    assert answer.startswith(b"HTTP/1.1 413")
    assert b'"too_large"' in answer


def test_a_chunked_body_over_the_limit_is_refused(served: Served) -> None:
    head = (
        f"POST /v1/contacts/bob/messages HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {served.bearer}\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    answer = raw(served, head.encode() + chunk * (BODY_BYTES // 0x10000 + 1))
    assert answer.startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\xff\xfe garbage\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET " + b"/" * 20000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 64,
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"GET /v1/status HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /v1/\xff HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    ],
)
def test_garbage_ends_its_own_connection_only(served: Served, garbage: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port_of(served)), timeout=DEADLINE_SECONDS) as sock:
        sock.sendall(garbage)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65536):
            pass
    assert served.ask("GET", "/v1/status")[0] == 200


def test_a_web_socket_is_refused(served: Served) -> None:
    request = (
        f"GET /v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {served.bearer}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
    )
    assert raw(served, request.encode()).startswith(b"HTTP/1.1 403")
