"""`docker compose up --build --wait` alone: a private network, its link, and a second machine that joins it."""

import base64
import json
import re
from collections.abc import Iterator

import pytest

from tests.e2e.compose import Project, can_connect

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]


def link_of(project: Project) -> str:
    """Return the newest link that the relay printed."""
    links = re.findall(r"covey:net\.[\w-]+", project.logs("relay"))
    assert links, project.logs("relay")
    return str(links[-1])


def payload_of(link: str) -> bytes:
    data = link.removeprefix("covey:net.")
    return base64.urlsafe_b64decode(data + "=" * (-len(data) % 4))


def test_the_default_is_a_seed_and_a_relay_and_prints_the_link(project: Project) -> None:
    project.up()
    running = [json.loads(line) for line in project.compose("ps", "--format", "json").stdout.splitlines()]
    assert {(one["Service"], one["Health"]) for one in running} == {("bootstrap", "healthy"), ("relay", "healthy")}
    payload = payload_of(link_of(project))
    assert (
        bytes(map(int, f"{project.prefix}.0.10".split("."))) in payload or f"{project.prefix}.0.10".encode() in payload
    )
    # Nothing is published to others unless somebody asks for it.
    bound = {
        b["HostIp"]
        for one in ("bootstrap", "relay")
        for ports in project.inspect(one)["HostConfig"]["PortBindings"].values()
        for b in ports
    }
    assert bound == {"127.0.0.1"}


def test_a_second_start_keeps_identities_and_link(project: Project) -> None:
    project.up()
    before = link_of(project)
    project.compose("down")
    project.up()
    assert link_of(project) == before


@pytest.fixture
def carol(images: None) -> Iterator[Project]:
    """Another machine: it shares nothing with the network's containers but the published ports."""
    one = Project("carol", file="tests/e2e/second-machine.yml")
    one.env["COVEY_E2E_PREFIX"] = one.prefix
    try:
        one.compose("create")
        yield one
    finally:
        one.down()


def test_with_a_public_address_a_second_machine_joins(carol: Project, request: pytest.FixtureRequest) -> None:
    here = f"{carol.prefix}.9.1"  # this machine's address on carol's network
    project = Project("one", settings={"COVEY_PUBLIC_ADDR": here})
    try:
        project.up()
        link = link_of(project)
        payload = payload_of(link)
        assert here.encode() in payload or bytes(map(int, here.split("."))) in payload
        carol.env["LINK_TO_JOIN"] = link
        carol.up()
        assert any(relay["connected"] for relay in carol.covey("carol", "status")["relays"])
        # She came through the published ports: her own network does not reach the containers.
        assert can_connect(carol, "carol", here, project.ports["COVEY_RELAY_PORT"])
        assert not can_connect(carol, "carol", f"{project.prefix}.0.20", 4101)
    finally:
        project.down()
