#!/usr/bin/env bash
# Makes sample data, runs the ETL script and shows what it wrote: run.sh <thalweg>
set -euo pipefail
thalweg=$1
here=$(dirname "$(readlink -f "$0")")
data=/tmp/thalweg-example

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

say "1. Sample data: examples/sample_data.sql"
"$thalweg" sql -f "$here/sample_data.sql"

say "2. The ETL script in one process: thalweg sql -f examples/etl.sql"
"$thalweg" sql -f "$here/etl.sql"

say "What it wrote: $data/revenue"
find "$data/revenue" -type f | sort | head -n 20
say "Try: $thalweg sql"
