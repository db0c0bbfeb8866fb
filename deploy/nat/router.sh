#!/bin/sh
# A home router in one network namespace: masquerades its LAN, lets nothing in that was not asked for.
#
# NAT=cone       the source port is kept for every destination, and only who was written to may answer: a
#                "port-restricted cone", the usual home router
# NAT=symmetric  a new random source port for every destination: hole punching fails, the relay has to do
# WAN, LAN: the subnets of its two networks; GATEWAY: address and prefix that the hosts of the LAN use as their gateway.
# The root file system is read-only; /run is a tmpfs.
set -eu
dev() { ip -o -4 addr show to "$1" | awk '{print $2; exit}'; }
wan=$(dev "$WAN")
lan=$(dev "$LAN")
ip addr replace "$GATEWAY" dev "$lan"
ip route del default 2>/dev/null || true # the internet ends at its own subnet: nothing leaves this machine
case $NAT in
  cone) how="masquerade" ;;
  symmetric) how="masquerade fully-random" ;;
  *)
    echo "router: NAT=$NAT is neither cone nor symmetric" >&2
    exit 2
    ;;
esac
# Unsolicited packets are dropped in `input` as well: one that got as far as a reject would leave a conntrack entry, which
# holds the port pair, and a hole that is punched later would be mapped to another port.
nft -f - <<RULES
flush ruleset
table ip router {
  chain out { type nat hook postrouting priority srcnat; oifname "$wan" $how; }
  chain input { type filter hook input priority filter; iifname "$wan" ct state != { established, related } drop; }
  chain forward { type filter hook forward priority filter; policy drop;
                  ct state { established, related } accept; iifname "$lan" oifname "$wan" accept; }
}
RULES
touch /run/ready
echo "router: $NAT NAT, $LAN on $lan behind $wan"
exec sleep infinity
