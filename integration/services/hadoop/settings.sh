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

# Java 17 hides what Hadoop's RPC and JMX reach into.
jvm=(-Xmx256m -Xss512k -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:MaxMetaspaceSize=128m -XX:-UsePerfData
  -Djava.net.preferIPv4Stack=true
  --add-opens=java.base/java.lang=ALL-UNNAMED --add-opens=java.base/java.util=ALL-UNNAMED
  --add-opens=java.base/java.nio=ALL-UNNAMED --add-opens=java.base/sun.nio.ch=ALL-UNNAMED)

# In a session of its own: a daemon does not die with the terminal, stop.sh ends it.
java_of() { # role, main class, arguments...
  local role=$1
  shift
  HADOOP_CONF_DIR=$conf/$role exec setsid nice -n 5 java "${jvm[@]}" -Dthalweg.data="$data" \
    -Djava.io.tmpdir="$data/tmp" -Dlog.file="$logs/$role.log" -Dhadoop.log.dir="$logs" -cp "$conf/$role:$jars/webapps-root:$jars/*" "$@"
}
