#!/usr/bin/env bash
# Starts a JobManager and THALWEG_WORKERS workers (1 where not set) on this machine.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
"$here/jobmanager.sh" start
for _ in $(seq "${THALWEG_WORKERS:-1}"); do "$here/taskmanager.sh" start; done
