"""Rendezvous: the messages, the table, and a relay that is found at a point."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey_core.errors import ProtocolViolation, StreamLost, Unreachable
from covey_core.host import Stream
from covey_core.host import kad_limits as limits
from covey_core.host.rendezvous import discover, register, relay_namespace, serve_rendezvous
from covey_core.host.rendezvous_table import Registrations
from covey_core.host.rendezvous_wire import (
    RENDEZVOUS,
    Discover,
    Discovered,
    PeerRecord,
    Register,
    Registered,
    RendezvousMessage,
    RendezvousStatus,
    Unregister,
    decode_rendezvous,
    encode_rendezvous,
    open_peer_record,
    seal_peer_record,
)
from covey_core.identity import Identity
from covey_core.wire.circuit import HOP_PROTOCOL
from covey_core.wire.envelope import seal_envelope
from tests.host_dht.loopback import dialer, private_network, server

NAMESPACE = "/covey/00000000/relay"
ME, OTHER = Identity(bytes(32)), Identity(b"\x01" * 32)
_TEXT = st.text(max_size=20)
_REGISTER = st.builds(Register, _TEXT, st.binary(max_size=40), st.integers(0, 2**32))
_STATUS = st.sampled_from(RendezvousStatus)


def addrs(identity: Identity, count: int = 1) -> tuple[str, ...]:
    return tuple(f"/ip4/10.0.0.{n + 1}/tcp/4101/p2p/{identity.peer_id}" for n in range(count))


def wish(identity: Identity = ME, *, sequence: int = 1, namespace: str = NAMESPACE, ttl: int = 0) -> Register:
    return Register(namespace, seal_peer_record(identity, addrs(identity), sequence=sequence), ttl)


@given(
    st.one_of(
        _REGISTER,
        st.builds(Unregister, _TEXT),
        st.builds(Discover, _TEXT, st.integers(0, 2**32), st.binary(max_size=8)),
        st.builds(Registered, _STATUS, _TEXT, st.integers(0, 2**32)),
        st.builds(Discovered, _STATUS, st.lists(_REGISTER, max_size=3).map(tuple), st.binary(max_size=8), _TEXT),
    )
)
def test_a_message_comes_back_as_it_was(message: RendezvousMessage) -> None:
    assert decode_rendezvous(encode_rendezvous(message)) == message


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_a_violation(payload: bytes) -> None:
    try:
        decode_rendezvous(payload)
    except ProtocolViolation:
        return


@given(st.binary(max_size=200))
def test_any_bytes_are_a_record_or_a_violation(payload: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        open_peer_record(payload)


def test_a_record_of_ours_is_what_libp2p_reads() -> None:
    from libp2p.peer.envelope import consume_envelope  # noqa: PLC0415 - slow to import, and only here

    sealed = seal_peer_record(ME, addrs(ME, 2), sequence=7)
    _, record = consume_envelope(sealed, "libp2p-peer-record")
    assert (record.peer_id.to_base58(), record.seq) == (ME.peer_id, 7)
    assert [f"{addr}/p2p/{ME.peer_id}" for addr in record.addrs] == list(addrs(ME, 2))
    assert open_peer_record(sealed) == PeerRecord(ME.peer_id, 7, addrs(ME, 2))


def test_a_record_that_another_peer_signed_is_a_violation() -> None:
    from covey_core.host.pb import rendezvous_pb2 as pb  # noqa: PLC0415
    from covey_core.peers import peer_id_bytes  # noqa: PLC0415

    payload = pb.PeerRecord(peer_id=peer_id_bytes(OTHER.peer_id), seq=1).SerializeToString()
    forged = seal_envelope(ME, domain="libp2p-peer-record", payload_type=b"\x03\x01", payload=payload)
    with pytest.raises(ProtocolViolation, match="somebody else"):
        open_peer_record(forged)


def test_who_is_registered_is_told_until_the_time_is_over() -> None:
    table = Registrations()
    assert table.register(ME.peer_id, wish(), now=0) == Registered(
        RendezvousStatus.OK, ttl_seconds=limits.RENDEZVOUS_TTL_SECONDS
    )
    found = table.discover(Discover(NAMESPACE), now=10)
    assert [open_peer_record(one.signed_record).peer for one in found.registrations] == [ME.peer_id]
    assert found.registrations[0].ttl_seconds == limits.RENDEZVOUS_TTL_SECONDS - 10
    assert table.discover(Discover(NAMESPACE), now=limits.RENDEZVOUS_TTL_SECONDS).registrations == ()
    assert len(table) == 0


def test_a_cookie_leads_to_what_came_since_and_to_renewed_ones() -> None:
    table = Registrations()
    table.register(ME.peer_id, wish(ME), now=0)
    cookie = table.discover(Discover(NAMESPACE), now=0).cookie
    assert table.discover(Discover(NAMESPACE, cookie=cookie), now=0).registrations == ()
    table.register(OTHER.peer_id, wish(OTHER), now=0)
    table.register(ME.peer_id, wish(ME, sequence=2), now=0)
    told = table.discover(Discover(NAMESPACE, cookie=cookie), now=0).registrations
    assert [open_peer_record(one.signed_record).peer for one in told] == [OTHER.peer_id, ME.peer_id]
    first = table.discover(Discover(NAMESPACE, limit=1), now=0)
    second = table.discover(Discover(NAMESPACE, limit=1, cookie=first.cookie), now=0)
    assert {open_peer_record(r.signed_record).peer for r in (*first.registrations, *second.registrations)} == {
        ME.peer_id,
        OTHER.peer_id,
    }


def test_one_peer_has_one_place_under_a_namespace_and_may_leave_it() -> None:
    table = Registrations()
    for sequence in range(5):
        table.register(ME.peer_id, wish(sequence=sequence), now=0)
    assert len(table) == 1
    table.unregister(OTHER.peer_id, NAMESPACE)
    assert len(table) == 1
    table.unregister(ME.peer_id, NAMESPACE)
    table.unregister(ME.peer_id, NAMESPACE)
    assert len(table) == 0


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (wish(namespace=""), RendezvousStatus.INVALID_NAMESPACE),
        (wish(namespace="n" * 256), RendezvousStatus.INVALID_NAMESPACE),
        (wish(ttl=1), RendezvousStatus.INVALID_TTL),
        (wish(ttl=73 * 3_600), RendezvousStatus.INVALID_TTL),
        (wish(OTHER), RendezvousStatus.NOT_AUTHORIZED),
        (replace(wish(), signed_record=b"x"), RendezvousStatus.INVALID_SIGNED_PEER_RECORD),
        (replace(wish(), signed_record=b"x" * 5_000), RendezvousStatus.INVALID_SIGNED_PEER_RECORD),
    ],
)
def test_what_breaks_a_rule_is_refused(request_: Register, status: RendezvousStatus) -> None:
    table = Registrations()
    assert table.register(ME.peer_id, request_, now=0).status is status
    assert len(table) == 0


def test_an_older_record_does_not_replace_a_newer_one() -> None:
    table = Registrations()
    table.register(ME.peer_id, wish(sequence=2), now=0)
    answer = table.register(ME.peer_id, wish(sequence=1), now=0)
    assert answer.status is RendezvousStatus.INVALID_SIGNED_PEER_RECORD


def test_cookies_of_others_are_refused() -> None:
    table = Registrations()
    for cookie in (b"x", (99).to_bytes(8, "big")):
        assert table.discover(Discover(NAMESPACE, cookie=cookie), now=0).status is RendezvousStatus.INVALID_COOKIE


def test_a_point_is_bounded_in_all_and_per_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Registrations()
    for number in range(limits.RENDEZVOUS_PEER_REGISTRATIONS):
        assert table.register(ME.peer_id, wish(namespace=f"n{number}"), now=0).status is RendezvousStatus.OK
    assert table.register(ME.peer_id, wish(namespace="more"), now=0).status is RendezvousStatus.UNAVAILABLE
    monkeypatch.setattr(limits, "RENDEZVOUS_NAMESPACES", len(table))
    assert table.register(OTHER.peer_id, wish(OTHER, namespace="x"), now=0).status is RendezvousStatus.UNAVAILABLE
    assert table.register(OTHER.peer_id, wish(OTHER, namespace="n1"), now=0).status is RendezvousStatus.OK
    monkeypatch.setattr(limits, "RENDEZVOUS_REGISTRATIONS", len(table))
    assert table.register(OTHER.peer_id, wish(OTHER, namespace="n2"), now=0).status is RendezvousStatus.UNAVAILABLE
    assert table.register(OTHER.peer_id, wish(OTHER, namespace="n1"), now=0).status is RendezvousStatus.OK


async def _nothing(stream: Stream) -> None:
    """A hop service in name."""


async def test_a_relay_registers_and_a_node_discovers_it() -> None:
    network = private_network()
    identity = Identity.generate()
    namespace = relay_namespace(network)
    async with server(network) as seed, server(network, identity) as relay, dialer(network) as node:
        registrations = serve_rendezvous(seed, namespace=namespace)
        relay.handle(HOP_PROTOCOL, _nothing)
        await relay.connect(seed.peer_id, seed.addrs)
        held = await register(relay, identity, seed.peer_id, namespace=namespace, sequence=1)
        assert held == limits.RENDEZVOUS_TTL_SECONDS
        await node.connect(seed.peer_id, seed.addrs)
        assert await discover(node, seed.peer_id, namespace=namespace) == (PeerRecord(relay.peer_id, 1, relay.addrs),)
        assert [entry.peer for entry in registrations.peers(network.scope)] == [relay.peer_id]


async def test_who_is_no_relay_and_who_names_another_namespace_is_refused() -> None:
    network = private_network()
    identity = Identity.generate()
    namespace = relay_namespace(network)
    async with server(network) as seed, server(network, identity) as other:
        registrations = serve_rendezvous(seed, namespace=namespace)
        await other.connect(seed.peer_id, seed.addrs)
        with pytest.raises(Unreachable, match="only relays"):
            await register(other, identity, seed.peer_id, namespace=namespace, sequence=1)
        other.handle(HOP_PROTOCOL, _nothing)
        with pytest.raises(Unreachable, match="invalid_namespace"):
            await register(other, identity, seed.peer_id, namespace="else", sequence=1)
        assert len(registrations) == 0


@pytest.mark.parametrize("payload", [b"\xff", b"\x08\x09", encode_rendezvous(Registered(RendezvousStatus.OK))])
async def test_garbage_resets_the_stream_and_the_point_goes_on(payload: bytes) -> None:
    network = private_network()
    namespace = relay_namespace(network)
    async with server(network) as seed, dialer(network) as node:
        serve_rendezvous(seed, namespace=namespace)
        await node.connect(seed.peer_id, seed.addrs)
        stream = await node.open_stream(seed.peer_id, RENDEZVOUS)
        await stream.write_frame(payload, limit=limits.RENDEZVOUS_MESSAGE_BYTES)
        with pytest.raises(StreamLost):
            await stream.read_frame(limit=limits.RENDEZVOUS_MESSAGE_BYTES)
        assert await discover(node, seed.peer_id, namespace=namespace) == ()
