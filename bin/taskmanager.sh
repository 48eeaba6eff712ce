#!/usr/bin/env bash
# Starts or stops one worker on this machine: taskmanager.sh start|start-foreground|stop [options of `thalweg worker`].
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/env.sh"
daemon taskmanager worker "$@"
