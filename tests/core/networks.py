"""Networks for tests, and hypothesis strategies for them."""

import string

from hypothesis import strategies as st

from covey_core.network import Network, RelayEntry, Scope
from covey_core.peers import peer_id_of

PEER = peer_id_of(bytes(range(32)))
OTHER_PEER = peer_id_of(bytes(range(1, 33)))
ADDR = f"/ip4/198.51.100.7/tcp/4001/p2p/{PEER}"
KEY = bytes(range(100, 132))
OLD_KEY = bytes(range(32, 64))

NETWORK = Network(
    name="home",
    id=bytes(range(16)),
    scope=Scope(("198.51.100.0/24",)),
    key=KEY,
    bootstraps=(ADDR,),
    relays=(RelayEntry(operator="Ann", addrs=(ADDR, f"/dns4/relay.example/tcp/443/wss/p2p/{PEER}")),),
)

_names = st.text(string.ascii_letters + string.digits + "-äß語", min_size=1, max_size=64)
_peers = st.binary(min_size=32, max_size=32).map(peer_id_of)
_ports = st.integers(1, 65535)
addrs = st.builds(lambda port, peer: f"/ip4/192.0.2.1/tcp/{port}/p2p/{peer}", _ports, _peers)
relays = st.builds(
    lambda operator, ports, peer: RelayEntry(operator, tuple(f"/ip6/::1/tcp/{port}/ws/p2p/{peer}" for port in ports)),
    _names,
    st.lists(_ports, min_size=1, max_size=8),
    _peers,
)
_keys = st.one_of(
    st.just((None, None)),
    st.tuples(st.binary(min_size=32, max_size=32), st.none() | st.binary(min_size=32, max_size=32)),
)
networks = st.builds(
    lambda name, id_, scope, keys, bootstraps, entries: Network(
        name=name, id=id_, scope=scope, key=keys[0], previous_key=keys[1], bootstraps=bootstraps, relays=entries
    ),
    _names,
    st.binary(min_size=16, max_size=16),
    st.sampled_from([Scope(), Scope(("10.0.0.0/8", "fc00::/7"))]),
    _keys,
    st.lists(addrs, max_size=4).map(tuple),
    st.lists(relays, max_size=3).map(tuple),
)
