"""The stream shell of admission: both sides of a new connection prove that they are members of the network.

Owns: one stream a connection, its deadline, and the mark "admitted". Spec: docs/spec/admission.md.
Never touches: the proofs (covey_core.admission), other protocols.
"""

from typing import Final

import trio

from covey_core.admission import FRAME_MAX_BYTES, PROTOCOL_NAME, Admitted, Dialer, Listener
from covey_core.errors import ProtocolViolation, StreamLost
from covey_core.host.connection import Connection, first_of
from covey_core.host.streams import Stream
from covey_core.limits import ADMISSION_DEADLINE_SECONDS
from covey_core.network import Network
from covey_core.peers import PeerId


class Admission:
    """Proves this host to others and others to it."""

    def __init__(self, network: Network, *, me: PeerId) -> None:
        self._network: Final = network
        self._me: Final = me
        self.protocol: Final = network.protocol(PROTOCOL_NAME)

    @property
    def is_needed(self) -> bool:
        """Whether the network has a key."""
        return self._network.key is not None

    async def await_proof(self, connection: Connection) -> None:
        """Wait, as the listener, until the other side has proven itself; `StreamLost` after 5 s."""
        with trio.move_on_after(ADMISSION_DEADLINE_SECONDS):
            await first_of(connection.admitted.wait, connection.event_closed.wait)
        if not connection.admitted.is_set():
            raise StreamLost("the peer did not prove membership of the network")

    def dialer(self, connection: Connection) -> Dialer:
        """Return the dialer's machine for a connection."""
        return Dialer(self._network, me=self._me, peer=connection.peer)

    async def prove(self, machine: Dialer, connection: Connection, stream: Stream) -> None:
        """Prove ourselves, as the dialer, and check the other side; `StreamLost` or `ProtocolViolation` if it fails.

        The machine's hello has left already, with the proposal of the protocol.
        """
        await stream.write_frame(machine.answer(await _frame(stream)), limit=FRAME_MAX_BYTES)
        if not isinstance(machine.finish(await _frame(stream)), Admitted):
            raise ProtocolViolation("the peer proved another network's key")
        connection.admitted.set()
        await stream.close()

    async def check(self, connection: Connection, stream: Stream) -> None:
        """Check the other side, as the listener, and prove ourselves to it; closes the connection if it fails."""
        if connection.inbound is False or connection.admitted.is_set():
            raise ProtocolViolation("admission is asked for by the dialer, once")
        machine = Listener(self._network, me=self._me, peer=connection.peer)
        try:
            with trio.fail_after(ADMISSION_DEADLINE_SECONDS):
                await stream.write_frame(machine.challenge(await _frame(stream)), limit=FRAME_MAX_BYTES)
                outcome = machine.decide(await _frame(stream))
                if isinstance(outcome, Admitted) and outcome.frame is not None:
                    await stream.write_frame(outcome.frame, limit=FRAME_MAX_BYTES)
                    connection.admitted.set()
        finally:
            if not connection.admitted.is_set():
                await connection.close()


async def _frame(stream: Stream) -> bytes:
    frame = await stream.read_frame(limit=FRAME_MAX_BYTES)
    if frame is None:
        raise StreamLost("the peer ended the admission stream")
    return frame
