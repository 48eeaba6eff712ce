#!/usr/bin/env bash
# Makes a network namespace for each node, joined by one that routes between them, for as long as standard input stays open; then removes
# them all. Whoever starts this with a pipe as its input leaves nothing behind; what a killed one has left, the next one removes.
# Needs root and iproute2. The addresses are of 198.18.0.0/16, which is set aside for such tests (RFC 2544).
#
# usage: run.sh NODE...
# prints: `router NAMESPACE`, `client ADDRESS` of this host, `NODE NAMESPACE ADDRESS` for each node, then `ready`
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
prefix=thalweg-$$
router=$prefix-router

namespaces() { ip netns list | cut -d' ' -f1; }
remove() { # prefix
  local namespace
  for namespace in $(namespaces | grep "^$1-" || true); do ip netns del "$namespace" 2>/dev/null || true; done
}
# The process that has made them is in their names.
for pid in $(namespaces | sed -n 's/^thalweg-\([0-9]*\)-.*/\1/p' | sort -u); do
  tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -q 'network/run\.sh' || remove "thalweg-$pid"
done
# The links go with their namespaces.
trap 'remove "$prefix"' EXIT
trap 'exit 130' INT TERM HUP

ip netns add "$router"
ip netns exec "$router" bash -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'

# The name of this host's link says which addresses are taken.
net=
for try in $(seq 256); do
  number=$((($$ + try) % 256))
  ! ip link add "thalweg$number" type veth peer name client netns "$router" 2>/dev/null || { net=198.18.$number; break; }
done
[ -n "$net" ] || { echo "no link can be made (no veth, or 256 of them are there)" >&2; exit 1; }
ip -batch - <<HOST
address add $net.254/32 dev thalweg$number
link set thalweg$number up
route add $net.1 dev thalweg$number
route add $net.0/24 via $net.1 dev thalweg$number
HOST
ip -n "$router" -batch - <<ROUTER
link set lo up
address add $net.1/32 dev lo
link set client up
route add $net.254 dev client
ROUTER
printf 'router %s\nclient %s\n' "$router" "$net.254"

host=1
for node in "$@"; do
  namespace=$prefix-$node
  host=$((host + 1))
  ip netns add "$namespace"
  ip -n "$router" -batch - <<ROUTER
link add node$host type veth peer name eth0 netns $namespace
link set node$host up
route add $net.$host dev node$host
ROUTER
  ip -n "$namespace" -batch - <<NODE
link set lo up
address add $net.$host/32 dev eth0
link set eth0 up
route add $net.1 dev eth0
route add default via $net.1 dev eth0
NODE
  echo "$node $namespace $net.$host"
done
echo ready
# Nothing is ever written to this input: reading ends when its last writer is gone.
cat >/dev/null
