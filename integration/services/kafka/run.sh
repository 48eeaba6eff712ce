#!/usr/bin/env bash
# Runs Kafka for as long as standard input stays open, in a temporary folder; then ends it and removes the folder. Whoever starts
# this with a pipe as its input leaves nothing behind, however it dies.
#
# usage: run.sh [KEY=VALUE...]
# prints: the lines of the endpoints file (see start.sh), then `data=FOLDER`, then `ready`
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
data=$(mktemp -d "${TMPDIR:-/tmp}/thalweg-kafka-XXXXXX")
trap '"$here/stop.sh" --remove "$data"' EXIT
trap 'exit 130' INT TERM HUP
"$here/start.sh" "$data" "$@" </dev/null
echo "data=$data"
echo ready
# Nothing is ever written to this input: reading ends when its last writer is gone.
cat >/dev/null
