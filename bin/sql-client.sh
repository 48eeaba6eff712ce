#!/usr/bin/env bash
# Flink's name of the SQL shell: sql-client.sh [embedded|gateway] [options of `thalweg sql`].
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/env.sh"
case "${1:-}" in embedded | gateway) shift ;; esac
exec "$THALWEG" sql "$@"
