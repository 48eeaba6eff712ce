#!/usr/bin/env bash
# Stops what start-cluster.sh started: workers first, then the JobManager.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
"$here/taskmanager.sh" stop
"$here/jobmanager.sh" stop
