#!/usr/bin/env bash
# Runs a command until this script's standard input closes, then kills it: whoever holds the other end of the pipe leaves nothing
# running, however it dies.
#
# usage: guard.sh LOG_FILE COMMAND [ARGUMENT...]
# prints: the command's process id
set -uo pipefail
log=$1
shift
"$@" >>"$log" 2>&1 </dev/null &
echo $!
# The job, not the number: that may be somebody else's by then.
trap 'kill -9 %1 2>/dev/null' EXIT
cat >/dev/null
