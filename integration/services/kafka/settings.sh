# What start.sh and stop.sh share. Sourced, with the data folder in $data.
alive() {
  local pid
  pid=$(cat "$data/pid" 2>/dev/null) || return 1
  # The pid may belong to somebody else by now: ours carries the data folder in its command line.
  tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF -- "-Dthalweg.data=$data "
}
