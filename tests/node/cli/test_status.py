"""What `covey status` says of the node itself."""

from dataclasses import replace

import pytest

from covey_node.service.port import StatusView
from tests.node.api.fake_port import FakePort
from tests.node.api.serving import Served
from tests.node.cli.conftest import Covey

ME = "12D3KooWAlice"
LISTEN = (f"/ip4/10.0.0.2/tcp/4201/p2p/{ME}", f"/ip4/10.0.0.2/udp/4201/quic-v1/p2p/{ME}", "/ip6/fd00::2/tcp/4201")


@pytest.mark.parametrize(
    ("listen", "shown"),
    [
        (LISTEN, ["listens on      /ip4/10.0.0.2/tcp/4201", " " * 16 + "/ip4/10.0.0.2/udp/4201/quic-v1",
                  " " * 16 + "/ip6/fd00::2/tcp/4201"]),
        ((), ["listens on      nothing (dials only)"]),
    ],
)  # fmt: skip
def test_each_address_that_is_listened_on_has_a_line_and_no_peer_id(
    monkeypatch: pytest.MonkeyPatch, served: Served, covey: Covey, listen: tuple[str, ...], shown: list[str]
) -> None:
    told = FakePort.status

    async def status(port: FakePort) -> StatusView:
        return replace(await told(port), listen=listen)

    monkeypatch.setattr(FakePort, "status", status)
    lines = covey("status").stdout.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("listens on"))
    assert lines[first : first + len(shown)] == shown
    assert lines[first + len(shown)].startswith("DHT servers")
