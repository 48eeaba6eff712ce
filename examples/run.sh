#!/usr/bin/env bash
# Makes sample data, runs the ETL script and shows what it wrote: run.sh <thalweg> [--cluster]
set -euo pipefail
thalweg=$1
here=$(dirname "$(readlink -f "$0")")
data=/tmp/thalweg-example

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

say "1. Sample data: examples/sample_data.sql"
"$thalweg" sql -f "$here/sample_data.sql"

if [ "${2:-}" = --cluster ]; then
    # Only this example's processes: their pids, logs and port are kept apart.
    export THALWEG=$thalweg THALWEG_RUN_DIR=$data/run
    conf=$(mktemp -d)
    export THALWEG_CONF_DIR=$conf
    trap '"$here/../bin/stop-cluster.sh"; rm -rf "$conf"' EXIT
    printf 'rest.port: %s\ntaskmanager.numberOfTaskSlots: 2\n' "${THALWEG_EXAMPLE_PORT:-18081}" >"$conf/config.yaml"
    say "2. A JobManager and two workers"
    THALWEG_WORKERS=2 "$here/../bin/start-cluster.sh"
    say "3. The ETL script on them: thalweg run examples/etl.sql"
    "$thalweg" run "$here/etl.sql"
else
    say "2. The ETL script in one process: thalweg sql -f examples/etl.sql"
    "$thalweg" sql -f "$here/etl.sql"
fi

say "What it wrote: $data/revenue"
find "$data/revenue" -type f | sort | head -n 20
say "Try: $thalweg sql"
