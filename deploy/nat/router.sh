#!/bin/sh
# A home router in one network namespace, for the demo and the NAT tests: translates its LAN's addresses, lets nothing in
# that its kind does not let in, and has the faults that routers have, on demand.
#
#   router                  (the container's command) set up as the environment says, then stay
#   router set-up           the same without staying
#   router nat KIND         become another kind; every mapping is lost
#   router block WHAT       from now on also keep this back; every mapping is lost
#   router direct on|off    `off`: nothing passes between the LAN and anybody but SERVERS, silently; mappings are kept
#   router all on|off       `off`: nothing passes at all, silently, with the cable in its place; mappings are kept
#   router restart          lose every mapping, as after a power cut
#   router wan ADDRESS      get another address from the provider; every mapping is lost
#   router show             print kind, blocks, faults and addresses
#
# KIND  cone       one mapping for all destinations, on the host's own port; lets in only who was written to: a
#                  "port-restricted cone", the usual home router (kind 1 of the lab)
#       symmetric  a new random port for every destination: nobody can be told where to send to, hole punching fails (2)
#       carrier    one mapping for all destinations, on another port than the host's, as many carriers' NATs (3)
#       full-cone  as cone, and once a host wrote out from a port, anybody may write to that port for two minutes
# WHAT  none
#       tcp        no TCP connection comes in, not even from somebody who was written to: firewalls that refuse a
#                  simultaneous open. The LAN still connects to relays; TCP between two such LANs is impossible
#       udp        no UDP goes out, as in many companies; so nothing comes in either
# Settings (environment): NAT=cone (a KIND), BLOCK=none (a WHAT), WAN and LAN (the subnets of its two networks), GATEWAY
# (address and prefix that the LAN's hosts use as their gateway), SERVERS (addresses, with commas, that `direct off` spares).
# ROUTER_STATE (default /run/router: the root file system is read-only, /run a tmpfs) keeps what changes; ROUTER_FORGET is the
# command that empties the connection tracking (default: conntrack -F).
set -eu
state=${ROUTER_STATE:-/run/router}

die() {
  echo "router: $*" >&2
  exit 2
}
dev() { ip -o -4 addr show to "$1" | awk '{print $2; exit}'; }
value() { cat "$state/$1"; }

change() { # NAME VALUE CHOICE...
  name=$1 wanted=$2
  shift 2
  for choice; do
    if [ "$wanted" = "$choice" ]; then
      echo "$wanted" >"$state/$name"
      return
    fi
  done
  die "$name is one of: $* (not: $wanted)"
}

# All rules are replaced in one transaction. Full cone's open ports are forgotten with them.
rules() {
  wan=$(value wan-device)
  lan=$(value lan-device)
  learn="" enter="" block="" fault=""
  case $(value nat) in
    symmetric) how="masquerade fully-random" ;;
    carrier) how="meta l4proto { tcp, udp } masquerade to :20000-30000" ;; # the kernel takes a host's mapping again
    full-cone)
      how="masquerade"
      learn="iifname $lan meta l4proto tcp update @open_tcp { tcp sport timeout 2m : ip saddr };
             iifname $lan meta l4proto udp update @open_udp { udp sport timeout 2m : ip saddr };"
      enter="iifname $wan dnat to tcp dport map @open_tcp; iifname $wan dnat to udp dport map @open_udp;"
      ;;
    *) how="masquerade" ;;
  esac
  case $(value block) in
    tcp) block="iifname $wan tcp flags & (syn | ack) == syn drop;" ;;
    udp) block="iifname $lan ip daddr != $LAN meta l4proto udp drop;" ;;
  esac
  [ "$(value direct)" = on ] || fault="iifname $lan ip daddr != { ${SERVERS:?} } drop; iifname $wan ip saddr != { $SERVERS } drop;"
  [ "$(value all)" = on ] || fault="iifname { $lan, $wan } drop;"
  # Unsolicited packets are dropped in `input` as well: one that got as far as a reject would leave a conntrack entry,
  # which holds the port pair, and a hole that is punched later would be mapped to another port.
  nft -f - <<RULES
table ip router
delete table ip router
table ip router {
  map open_tcp { type inet_service : ipv4_addr; flags dynamic, timeout; size 1024; }
  map open_udp { type inet_service : ipv4_addr; flags dynamic, timeout; size 1024; }
  chain before { type filter hook prerouting priority raw; $fault $block }
  chain in { type nat hook prerouting priority dstnat; $enter }
  chain out { type nat hook postrouting priority srcnat; oifname $wan $how; }
  chain input { type filter hook input priority filter; iifname $wan ct state != { established, related } drop; }
  chain forward { type filter hook forward priority filter; policy drop; ct state invalid drop; $learn
                  ct state { established, related } accept; iifname $lan oifname $wan accept; ct status dnat accept; }
}
RULES
}

forget() { ${ROUTER_FORGET:-conntrack -F} >/dev/null 2>&1; }

set_up() {
  mkdir -p "$state"
  dev "$WAN" >"$state/wan-device"
  dev "$LAN" >"$state/lan-device"
  change nat "${NAT:-cone}" cone symmetric carrier full-cone
  change block "${BLOCK:-none}" none tcp udp
  echo on >"$state/direct"
  echo on >"$state/all"
  ip addr replace "$GATEWAY" dev "$(value lan-device)"
  ip route del default 2>/dev/null || true # the internet ends at its own subnet: nothing leaves this machine
  rules
}

show() {
  echo "router: $(value nat) NAT, blocks $(value block), direct $(value direct), all $(value all)," \
    "$LAN on $(value lan-device) behind $(ip -o -4 addr show dev "$(value wan-device)" | awk '{print $4; exit}')"
}

case ${1:-run} in
  run)
    set_up
    touch /run/ready
    show
    exec sleep infinity
    ;;
  set-up) set_up ;;
  nat)
    change nat "${2:-}" cone symmetric carrier full-cone
    rules
    forget
    ;;
  block)
    change block "${2:-}" none tcp udp
    rules
    forget
    ;;
  direct | all)
    change "$1" "${2:-}" on off
    rules
    ;;
  restart)
    rules
    forget
    ;;
  wan)
    device=$(value wan-device)
    ip addr flush dev "$device"
    ip addr add "${2:?}/${WAN#*/}" dev "$device"
    forget
    ;;
  show) ;;
  *) die "no such command: $1" ;;
esac
show
