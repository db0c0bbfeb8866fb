"""Nothing that the host does puts a PeerId or an address into a log."""

import logging

import pytest
import trio
from libp2p.network.connection import swarm_connection as upstream

from covey_core.errors import StreamLost, Unreachable
from covey_core.host import Stream
from covey_core.host.quiet import silence_libp2p
from covey_core.network import Network
from tests.host.conftest import host_on
from tests.host.test_security import port_of


async def test_a_troubled_life_leaves_no_peer_and_no_address_in_any_log(
    private: Network, public: Network, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    async def raises(stream: Stream) -> None:
        raise RuntimeError(f"a bug with {stream.remote_addr} of {stream.peer}")

    caplog.set_level(logging.DEBUG)
    with trio.fail_after(30):
        async with host_on(private) as alice, host_on(private) as bob, host_on(public) as mallory:
            bob.handle("/test/raises/1", raises)
            await alice.connect(bob.peer_id, bob.addrs)
            stream = await alice.open_stream(bob.peer_id, "/test/raises/1")
            with pytest.raises(StreamLost):
                await stream.read_some()
            garbage = await trio.open_tcp_stream("127.0.0.1", port_of(bob.addrs[0]))
            await garbage.send_all(b"GET / HTTP/1.1\r\n\r\n")
            await garbage.aclose()
            with pytest.raises(Unreachable):
                await alice.connect(mallory.peer_id, mallory.addrs)
    said = "".join(capfd.readouterr()) + caplog.text
    assert "host.handler.failed" in said
    for secret in (alice.peer_id, bob.peer_id, mallory.peer_id, "127.0.0.1", "a bug with"):
        assert secret not in said


def test_libp2p_logs_nothing_unless_it_is_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIBP2P_DEBUG", raising=False)
    silence_libp2p()
    assert not logging.getLogger("libp2p.network.swarm").isEnabledFor(logging.CRITICAL)
    assert not logging.getLogger("trio-websocket").isEnabledFor(logging.CRITICAL)


def test_upstreams_root_logging_is_led_elsewhere() -> None:
    """swarm_connection.py calls logging.debug(): the root logger, which installs a handler on stderr."""
    silence_libp2p()
    assert isinstance(upstream.logging, logging.Logger)
