"""Which answers to a search for routers are the gateway's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey_node import limits
from covey_node.protocol.ssdp import description_in, is_at, searches

GATEWAY = "192.168.1.1"
URL = "http://192.168.1.1:5000/rootDesc.xml"


def answer(location: str, *, first: str = "HTTP/1.1 200 OK", name: str = "LOCATION") -> bytes:
    return f"{first}\r\nCACHE-CONTROL: max-age=120\r\n{name}: {location}\r\nST: upnp:rootdevice\r\n\r\n".encode()


def test_a_search_asks_everybody_for_routers() -> None:
    assert all(packet.startswith(b"M-SEARCH * HTTP/1.1\r\n") and packet.endswith(b"\r\n\r\n") for packet in searches())
    assert any(b"InternetGatewayDevice:1" in packet for packet in searches())


@pytest.mark.parametrize("name", ["LOCATION", "Location", "location"])
def test_the_gateways_answer_names_its_description(name: str) -> None:
    assert description_in(answer(URL, name=name), gateway_ip=GATEWAY) == URL


@pytest.mark.parametrize(
    "url",
    [
        "http://192.168.1.7:5000/rootDesc.xml",
        "http://127.0.0.1:8080/admin",
        "http://169.254.169.254/latest/meta-data",
        "http://192.168.1.1.evil.example/",
        "http://192.168.1.1:80@127.0.0.1/",
        "http://127.0.0.1:80@192.168.1.1/",
        "http://127.0.0.1/@192.168.1.1/",
        "http://192.168.1.10/",
        "http://192x168.1.1/",
        "https://192.168.1.1/",
        "ftp://192.168.1.1/",
        "http://192.168.1.1",
        "http://192.168.1.1:5000",
        "http://192.168.1.1:999999/",
        "http://192.168.1.1/\u00e4",
        "http://192.168.1.1/" + "a" * limits.PORTMAP_URL_CHARS,
        "",
    ],
)
def test_no_other_machine_and_no_second_reading_of_a_url(url: str) -> None:
    assert not is_at(url, GATEWAY)
    assert description_in(answer(url), gateway_ip=GATEWAY) is None


def test_what_is_no_answer_names_nothing() -> None:
    assert description_in(answer(URL, first="NOTIFY * HTTP/1.1"), gateway_ip=GATEWAY) is None
    assert description_in(b"HTTP/1.1 200 OK\r\n\r\n", gateway_ip=GATEWAY) is None


@given(st.binary(max_size=300))
def test_any_bytes_are_an_answer_or_none(data: bytes) -> None:
    found = description_in(b"HTTP/1.1 200 OK\r\nLOCATION: " + data, gateway_ip=GATEWAY)
    assert found is None or found.startswith(f"http://{GATEWAY}")
