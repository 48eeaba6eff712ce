#!/usr/bin/env bash
# Ends nodes at once (kill -9: the data is for tests), all of them or the named ones.
#
# usage: stop.sh DATA_FOLDER [ROLE...]        (roles: namenode, datanode1, datanode2, ...)
#        stop.sh --remove DATA_FOLDER         also removes the data folder
set -euo pipefail
remove=no
[ "${1:-}" != --remove ] || { remove=yes; shift; }
[ $# -ge 1 ] || { sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2; }
[ -d "$1" ] || exit 0
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
data=$(cd "$1" && pwd)
shift
. "$here/settings.sh"

roles=("$@")
if [ ${#roles[@]} = 0 ]; then
  for file in "$pids"/*.pid; do
    [ ! -e "$file" ] || roles+=("$(basename "$file" .pid)")
  done
fi
for role in "${roles[@]}"; do
  if alive "$role"; then
    pid=$(cat "$pids/$role.pid")
    kill -9 "$pid"
    while alive "$role"; do sleep 0.05; done
  fi
  rm -f "$pids/$role.pid"
done
[ "$remove" = no ] || rm -rf "$data"
