"""deploy/postgres/compose.yml: two relays over one PostgreSQL. A message crosses from one to the other."""

import re
from collections.abc import Iterator

import pytest
import trio

from covey_core.host import Host
from covey_core.network import Network, RelayEntry
from covey_core.peers import PeerId
from covey_core.wire import mailbox as m
from tests.e2e.compose import Project, free_ports
from tests.relay.conftest import host_on
from tests.support.mailbox_client import BLOB, MailboxClient, key, mid, verify_key

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

DAY = 86_400


@pytest.fixture
def pair(images: None) -> Iterator[Project]:
    ports = map(str, free_ports(2))
    settings = dict(zip(("COVEY_RELAY_2_PORT", "COVEY_RELAY_2_WS_PORT"), ports, strict=True))
    project = Project("pair", more=("deploy/postgres/compose.yml",), settings=settings)
    try:
        project.compose("build", "database", timeout=900)
        yield project
    finally:
        project.down()


def network_of(project: Project) -> Network:
    """The network with both relays: the link of the one that started last."""
    return Network.from_link(re.findall(r"covey:net\.[\w-]+", project.logs("relay-2"))[-1])


async def connected(host: Host, relay: RelayEntry) -> MailboxClient:
    peer = PeerId(relay.addrs[0].rsplit("/", 1)[-1])
    await host.connect(peer, relay.addrs)
    return await MailboxClient.open(host, peer)


async def exchange(network: Network, number: int) -> None:
    """bob hears at one relay what alice deposits at the other."""
    with trio.fail_after(60):
        async with host_on(network) as bobs, host_on(network) as alices:
            bob, alice = await connected(bobs, network.relays[0]), await connected(alices, network.relays[1])
            ids = await bob.new("bob", m.AdmitKey(verify_key("alice")))
            subscribed = await bob.send(m.Sub(ids.recv_id, number - 1), key("bob"))
            assert await bob.answer(subscribed) == m.Done()
            assert await alice.ask(m.Put(ids.send_id, mid(number), DAY, BLOB), key("alice")) == m.Stored(number)
            pushed = m.Messages((m.StoredMessage(number, mid(number), BLOB),))
            assert await bob.next_push() == m.Response(subscribed, pushed)


def test_a_message_crosses_from_one_relay_to_the_other_also_after_all_were_killed(pair: Project) -> None:
    pair.up()
    network = network_of(pair)
    assert len(network.relays) == 2
    trio.run(exchange, network, 1)
    pair.compose("kill", "--signal", "KILL", "database", "relay", "relay-2")
    pair.up()
    trio.run(exchange, network, 2)
    assert pair.code_in("relay", "sh", "-c", "echo no > /secret/url") != 0
