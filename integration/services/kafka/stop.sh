#!/usr/bin/env bash
# Ends the node at once (kill -9: the data is for tests).
#
# usage: stop.sh [--remove] DATA_FOLDER          (--remove also removes the data folder)
set -euo pipefail
remove=no
[ "${1:-}" != --remove ] || { remove=yes; shift; }
[ $# = 1 ] || { sed -n '2,4s/^# \{0,1\}//p' "$0" >&2; exit 2; }
[ -d "$1" ] || exit 0
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
data=$(cd "$1" && pwd)
. "$here/settings.sh"
if alive; then
  kill -9 "$(cat "$data/pid")"
  while alive; do sleep 0.05; done
fi
rm -f "$data/pid"
[ "$remove" = no ] || rm -rf "$data"
