#!/usr/bin/env bash
# Starts or stops one jobmanager on this machine: jobmanager.sh start|start-foreground|stop [options of `thalweg jobmanager`].
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/env.sh"
daemon jobmanager jobmanager "$@"
