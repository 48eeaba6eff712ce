# Sourced by the other scripts: where the binary, the configuration, logs and process ids are; and how a process is kept.
bin=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
home=$(dirname "$bin")
cache=${THALWEG_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/thalweg}
target=${CARGO_TARGET_DIR:-$cache/target}

# THALWEG, else the binary beside these scripts (a release), else the newest build of this checkout.
if [ -z "${THALWEG:-}" ]; then
    THALWEG=$(ls -t "$bin/thalweg" "$target"/{dist,release,debug}/thalweg 2>/dev/null | head -n 1 || true)
    [ -n "$THALWEG" ] || { echo "no thalweg binary: run \`make build\`, or set THALWEG to its path" >&2; exit 1; }
fi
export THALWEG
[ -n "${THALWEG_CONF_DIR:-}${FLINK_CONF_DIR:-}" ] || export THALWEG_CONF_DIR=$home/conf
run=${THALWEG_RUN_DIR:-$home/run}

# daemon <name> <command> start|start-foreground|stop [options]
daemon() {
    local name=$1 command=$2 action=${3:-start} pids=$run/$1.pids
    shift $(($# < 3 ? $# : 3))
    mkdir -p "$run"
    case "$action" in
    start-foreground) exec "$THALWEG" "$command" "$@" ;;
    start) start "$name" "$command" "$pids" "$@" ;;
    stop) stop "$name" "$pids" ;;
    *) echo "usage: $name.sh start|start-foreground|stop" >&2; exit 2 ;;
    esac
}

# Starts a process in the background and waits until it says that it is ready, or ends.
start() {
    local name=$1 command=$2 pids=$3 number log pid
    shift 3
    number=$({ wc -l <"$pids"; } 2>/dev/null || echo 0)
    log=$run/$name-$number.log
    nohup "$THALWEG" "$command" "$@" >"$log" 2>&1 &
    pid=$!
    for _ in $(seq 100); do
        if grep -q ' ready' "$log"; then
            echo "$pid" >>"$pids"
            echo "$(grep -m 1 ' ready' "$log") (process $pid, log $log)"
            return
        fi
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    kill "$pid" 2>/dev/null || true
    echo "$name did not start:" >&2
    tail -n 20 "$log" >&2
    return 1
}

# Asks the processes of a name to end and waits for it.
stop() {
    local name=$1 pids=$2 pid
    [ -s "$pids" ] || { echo "no $name of $run is running"; return; }
    while read -r pid; do
        [ "$(ps -o comm= -p "$pid" 2>/dev/null)" = thalweg ] || continue
        kill "$pid"
        for _ in $(seq 150); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
        if kill -0 "$pid" 2>/dev/null; then echo "$name (process $pid) does not end" >&2; return 1; fi
        echo "stopped $name (process $pid)"
    done <"$pids"
    rm -f "$pids"
}
