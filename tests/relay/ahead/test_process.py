"""Records signed ahead at a relay as an operator runs it."""

import time
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from covey_core.host import ProtocolRefused
from covey_core.network import Network, new_network, save_network
from covey_core.wire.ahead import AheadAnswer, AheadOutcome, Leave, decode_answer, encode_request
from tests.relay.ahead.records import DAY_SECONDS, day_record
from tests.relay.conftest import host_on
from tests.relay.test_process import running


async def leave(network: Network, value: bytes) -> AheadAnswer:
    relay = network.relays[0]
    async with host_on(network) as host:
        await host.connect(relay.peer, relay.addrs)
        stream = await host.open_stream(relay.peer, network.protocol("ahead"))
        await stream.write_frame(encode_request(Leave(value)), limit=1 << 16)
        answer = await stream.read_frame(limit=16)
        assert answer is not None
        return decode_answer(answer)


async def test_records_are_taken_and_outlive_a_killed_process_unless_the_operator_wants_none(tmp_path: Path) -> None:
    save_network(tmp_path / "network.json", new_network("home", private=True, subnets=("127.0.0.0/8",)))
    tomorrow, key = int(time.time()) // DAY_SECONDS + 1, SigningKey(b"a" * 32)
    async with running(tmp_path) as relay:
        joined = Network.from_link(await relay.line())
        assert await leave(joined, day_record(key, tomorrow, sequence=2)) == AheadAnswer(AheadOutcome.ADDED)
        relay.process.kill()
        await relay.process.wait()
    async with running(tmp_path) as relay:
        joined = Network.from_link(await relay.line())
        assert await leave(joined, day_record(key, tomorrow, sequence=1)) == AheadAnswer(AheadOutcome.NEWER)
        assert await relay.ends() == 0
    (tmp_path / "ahead.db").unlink()
    async with running(tmp_path, ahead="off") as relay:
        joined = Network.from_link(await relay.line())
        with pytest.raises(ProtocolRefused):
            await leave(joined, day_record(key, tomorrow))
        assert await relay.ends() == 0
    assert not (tmp_path / "ahead.db").exists()
