#!/usr/bin/env bash
# Three JobManagers and two workers on this machine; a stream runs, the leader is killed, the stream ends as if nothing had happened:
# quorum.sh <thalweg>
set -euo pipefail
thalweg=$1
here=$(dirname "$(readlink -f "$0")")
data=/tmp/thalweg-example
port=${THALWEG_EXAMPLE_PORT:-18081}

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

rm -rf "$data/counted" "$data/checkpoints" "$data/quorum"
mkdir -p "$data/quorum" "$data/checkpoints"
# Only this example's processes: their pids, logs and ports are kept apart.
export THALWEG=$thalweg THALWEG_RUN_DIR=$data/quorum/run
conf=$(mktemp -d)
export THALWEG_CONF_DIR=$conf
trap '"$here/../bin/stop-cluster.sh" >/dev/null 2>&1 || true; rm -rf "$conf"' EXIT
members="1@127.0.0.1:$port,2@127.0.0.1:$((port + 1)),3@127.0.0.1:$((port + 2))"
printf 'high-availability.type: raft\nhigh-availability.raft.members: "%s"\n' "$members" >"$conf/config.yaml"

say "1. Three JobManagers and two workers"
for member in 1 2 3; do
    "$here/../bin/jobmanager.sh" start -D "rest.port=$((port + member - 1))" \
        -D "high-availability.raft.member=$member" -D "high-availability.raft.dir=$data/quorum/member$member"
done
for _ in 1 2; do "$here/../bin/taskmanager.sh" start; done

# The member that leads, once there is one.
leader() {
    local line
    for _ in $(seq 300); do
        line=$("$thalweg" quorum status 2>/dev/null | grep ' leads' || true)
        if [ -n "$line" ]; then awk '{ print $1 }' <<<"$line"; return; fi
        sleep 0.1
    done
    echo "no JobManager leads" >&2
    return 1
}

first=$(leader)
"$thalweg" quorum status
say "2. A stream: thalweg run -d examples/quorum.sql"
"$thalweg" run -d "$here/quorum.sql"
# It has state by then that would have to be read again, if anything started again.
for _ in $(seq 300); do
    compgen -G "$data/checkpoints/*/chk-3/_metadata" >/dev/null && break
    sleep 0.1
done

pid=$(sed -n "${first}p" "$THALWEG_RUN_DIR/jobmanager.pids")
say "3. kill -9 of member $first, which leads (process $pid)"
kill -9 "$pid"
for _ in $(seq 300); do
    [ "$(leader)" != "$first" ] && break
    sleep 0.1
done
"$thalweg" quorum status
"$thalweg" list

say "4. The stream goes on to its end"
for _ in $(seq 600); do
    "$thalweg" list -a 2>/dev/null | grep -q FINISHED && break
    sleep 0.1
done
"$thalweg" list -a
"$thalweg" sql -e "
  CREATE TABLE counted (window_end TIMESTAMP(3), region INT, orders BIGINT, revenue DOUBLE)
  WITH ('connector' = 'filesystem', 'path' = '$data/counted', 'format' = 'parquet');
  SELECT COUNT(*) AS windows, SUM(orders) AS orders, 300000 AS expected FROM counted;"
