"""What could be changed on this machine: a table of conditions and words.

Owns: the rules. Never touches: how the facts are found. What does not follow from the facts is not said.
"""

from __future__ import annotations

from typing import Final

from covey_node.protocol.advice_facts import MachineFacts, Rule, better, wrong

_TWO: Final = 2  # relays: with one less, neither a fall-back nor a second view of our mappings exists


def _behind_nat(facts: MachineFacts) -> bool:
    return facts.nat in {"easy", "hard", "udp_blocked"} and not facts.proven_addrs


MACHINE: Final[tuple[Rule[MachineFacts], ...]] = (
    better(
        "no_relays_known",
        lambda f: f.relays == 0 and not f.proven_addrs,
        "The network's link names no relay, so nobody outside your own network can reach you. Ask whoever runs the "
        "network for a link with a relay, then: covey join LINK.",
    ),
    wrong(
        "no_relay_connected",
        lambda f: f.relays > 0 and f.relays_connected == 0 and not f.proven_addrs,
        lambda f: (
            "No relay answers" + (f" ({f.relay_reason})" if f.relay_reason else "") + ". Check this machine's "
            "connection, and that its firewall lets TCP out to the relays' ports."
        ),
    ),
    wrong(
        "no_reservation",
        lambda f: f.relays_connected > 0 and f.relays_reserved == 0 and not f.proven_addrs,
        lambda f: (
            "A relay answers but keeps no slot for you" + (f" ({f.relay_reason})" if f.relay_reason else "") + ". "
            "Tell its operator, or join with a link that names another relay."
        ),
    ),
    better(
        "one_relay_known",
        lambda f: f.relays == 1 and f.relays_reserved == 1,
        lambda f: (
            "The network has one relay. When it is down, those who cannot dial you directly cannot reach you"
            + ("; and one alone cannot tell the kind of your NAT" if f.nat == "unknown" else "")
            + ". Ask whoever runs the network for a link that names a second one, then: covey join LINK."
        ),
    ),
    better(
        "one_reservation",
        lambda f: f.relays >= _TWO and f.relays_reserved == 1,
        lambda f: (
            "One relay only keeps a slot for you"
            + (f"; of the others: {f.relay_reason}" if f.relay_reason else "")
            + ". When it goes, you are out of reach until another one takes you."
        ),
    ),
    better(
        "not_listening",
        lambda f: not f.listens,
        "This node only dials (COVEY_NODE_LISTEN=none): holes cannot be punched to it. Unset COVEY_NODE_LISTEN, and it "
        "listens on free ports of TCP and UDP.",
    ),
    better(
        "no_quic",
        lambda f: f.listens and not f.listens_udp and f.nat != "udp_blocked",
        "This node listens on no UDP port, so holes are punched over TCP only. Add one to COVEY_NODE_LISTEN, such as "
        "/ip4/0.0.0.0/udp/0/quic-v1.",
    ),
    better(
        "udp_blocked",
        lambda f: f.nat == "udp_blocked",
        "UDP does not get out of this network, so direct connections work over TCP only. If the firewall is yours, let "
        "UDP out.",
    ),
    wrong(
        "announced_unreachable",
        lambda f: f.announced_refuted,
        "None of the addresses in COVEY_NODE_ANNOUNCE is reached from outside. Check the port forward in the router "
        "and the firewall of this machine, or unset it.",
    ),
    better(
        "mapping_unreachable",
        lambda f: f.mapped_refuted and not f.proven_addrs,
        "The router mapped a port, but nobody reaches it from outside: there is a second NAT in front of the router "
        "(your provider's, or another router), or a firewall. Ask the provider for a public address, or use IPv6.",
    ),
    better(
        "portmap_off",
        lambda f: _behind_nat(f) and f.portmap == "off" and not f.announced,
        "Port mapping is switched off. With COVEY_NODE_PORTMAP=on the node asks the router to let others in.",
    ),
    better(
        "hard_nat",
        lambda f: f.nat == "hard" and not f.proven_addrs and f.portmap == "none" and not f.announced,
        "Your NAT takes another port for every destination, so holes can hardly be punched through it. Switch on UPnP "
        "or NAT-PMP in the router, or forward a port to this machine and name it in COVEY_NODE_ANNOUNCE.",
    ),
)
