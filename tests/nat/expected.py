"""Which path each pair of NATs must come to, and why. The words are RFC 4787's (mapping, filtering).

alice       bob         path     why
cone        cone        direct   each mapping is the same for all destinations, so the address that a relay saw is the
                                 one to write to; each side's own packet opens its filter for the other's
full-cone   cone        direct   the same, and alice's filter is open from her first packet on
full-cone   symmetric   direct   bob's port towards alice cannot be known, but he knows hers, and her router lets all in
carrier     cone        direct   as cone with cone; another port than the host's matters to nobody (a fault case only)
cone        symmetric   relayed  alice's router lets in only the very port that she wrote to, and bob's towards her is a
                                 new random one
symmetric   cone        relayed  the same from the other side
symmetric   symmetric   relayed  neither knows where to write to

With TCP blocked (no TCP connection comes in at either router) what was direct is direct over QUIC; with UDP
blocked (no
UDP goes out) over TCP. Relays are reached by outgoing TCP, so relayed pairs stay relayed whatever is blocked.
"""

from dataclasses import dataclass

ALICE = ("cone", "symmetric", "full-cone")
BOB = ("cone", "symmetric")
BLOCKS = ("none", "tcp", "udp")

_DIRECT = {("cone", "cone"), ("full-cone", "cone"), ("full-cone", "symmetric"), ("carrier", "cone")}
_TRANSPORTS = {"none": {"tcp", "quic"}, "tcp": {"quic"}, "udp": {"tcp"}}


@dataclass(frozen=True, slots=True)
class Cell:
    """One pair of NATs, with what their networks keep back."""

    alice: str
    bob: str
    block: str

    def __str__(self) -> str:
        return f"{self.alice}/{self.bob}/{'tcp+quic' if self.block == 'none' else f'no {self.block}'}"

    @property
    def kinds(self) -> tuple[str, str]:
        """What alice's and bob's routers do."""
        return self.alice, self.bob

    @property
    def direct(self) -> bool:
        """Whether the two must come to a direct connection."""
        return self.kinds in _DIRECT

    @property
    def transports(self) -> set[str]:
        """Over which transports the direct connection may be."""
        return _TRANSPORTS[self.block]


CELLS = tuple(Cell(alice, bob, block) for alice in ALICE for bob in BOB for block in BLOCKS)
