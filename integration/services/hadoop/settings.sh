# What start.sh and stop.sh share. Sourced, with the data folder in $data.
pids=$data/pids
logs=$data/logs
conf=$data/conf

alive() { # name
  local pid
  pid=$(cat "$pids/$1.pid" 2>/dev/null) || return 1
  # The pid may belong to somebody else by now: ours carries the data folder in its command line.
  tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF -- "-Dthalweg.data=$data "
}
