#!/usr/bin/env bash
# Makes one of two NameNodes the active one. The other must be standby or gone: nobody fences it.
#
# usage: activate.sh DATA_FOLDER nn1|nn2
set -euo pipefail
[ $# = 2 ] || { sed -n '2,4s/^# \{0,1\}//p' "$0" >&2; exit 2; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
data=$(cd "$1" && pwd)
. "$here/settings.sh"
jars=$("$here/fetch.sh")
(java_of client org.apache.hadoop.hdfs.tools.DFSHAAdmin -transitionToActive --forceactive "$2") >"$logs/activate.out" 2>&1 ||
  { tail -n 20 "$logs/activate.out" >&2; exit 1; }
