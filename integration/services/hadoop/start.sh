#!/usr/bin/env bash
# Starts a NameNode and DataNodes, each its own JVM, on free ports of the loopback interface, and waits until files can be
# written. What runs already is left alone, so it also brings back a node that was stopped, on its old ports.
#
# usage: start.sh DATA_FOLDER [DATANODES]     (2 DataNodes by default)
# writes: DATA_FOLDER/conf/client             a HADOOP_CONF_DIR for clients
#         DATA_FOLDER/endpoints               namenode=hdfs://HOST:PORT and web=http://HOST:PORT, for scripts and tests
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$1"
data=$(cd "$1" && pwd)
datanodes=${2:-2}
. "$here/settings.sh"
mkdir -p "$pids" "$logs" "$conf" "$data/tmp"
ready_timeout_s=120

jars=$("$here/fetch.sh")
"$here/../require.sh" java curl

# --- ports and configuration: once, so that a restarted node keeps its address -----------------------------------------

free_port() { # below the ephemeral range, so that no outgoing connection takes it meanwhile
  local port
  while :; do
    port=$((20000 + RANDOM % 10000))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
  done
}

write_xml() { # file; lines "key value" on stdin
  {
    echo '<?xml version="1.0"?>'
    echo '<configuration>'
    while read -r key value; do
      echo "  <property><name>$key</name><value>$value</value></property>"
    done
    echo '</configuration>'
  } >"$1"
}

if [ ! -f "$data/endpoints" ]; then
  rpc=127.0.0.1:$(free_port)
  web=127.0.0.1:$(free_port)
  for role in client namenode $(seq -f 'datanode%g' "$datanodes"); do
    mkdir -p "$conf/$role"
    cp "$here/log4j.properties" "$conf/$role/"
    write_xml "$conf/$role/core-site.xml" <<CORE
fs.defaultFS hdfs://$rpc
hadoop.tmp.dir $data/tmp
CORE
  done
  write_xml "$conf/client/hdfs-site.xml" <<CLIENT
dfs.replication 1
dfs.blocksize 1048576
dfs.namenode.rpc-address $rpc
dfs.namenode.http-address $web
CLIENT
  write_xml "$conf/namenode/hdfs-site.xml" <<NAMENODE
dfs.replication 1
dfs.blocksize 1048576
dfs.namenode.name.dir file://$data/namenode
dfs.namenode.rpc-address $rpc
dfs.namenode.http-address $web
dfs.namenode.safemode.extension 0
dfs.namenode.datanode.registration.ip-hostname-check false
dfs.namenode.fs-limits.min-block-size 4096
dfs.heartbeat.interval 1
NAMENODE
  for index in $(seq "$datanodes"); do
    # Every DataNode calls itself by another loopback address: block locations differ, and no name needs resolving. The NameNode
    # sends block clients to the address that it saw (127.0.0.1) and web clients to the name.
    write_xml "$conf/datanode$index/hdfs-site.xml" <<DATANODE
dfs.replication 1
dfs.namenode.rpc-address $rpc
dfs.datanode.data.dir file://$data/datanode$index
dfs.datanode.hostname 127.0.0.$index
dfs.datanode.address 127.0.0.1:$(free_port)
dfs.datanode.http.address 127.0.0.$index:$(free_port)
dfs.datanode.ipc.address 127.0.0.1:$(free_port)
dfs.datanode.du.reserved 0
dfs.heartbeat.interval 1
DATANODE
  done
  printf 'namenode=hdfs://%s\nweb=http://%s\n' "$rpc" "$web" >"$data/endpoints"
fi
web=$(sed -n 's/^web=//p' "$data/endpoints")

# --- processes ---------------------------------------------------------------------------------------------------------

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

launch() { # role, main class
  alive "$1" && return
  (cd "$data" && java_of "$@" >>"$logs/$1.out" 2>&1 </dev/null) &
  echo $! >"$pids/$1.pid"
}

if [ ! -f "$data/namenode/current/VERSION" ]; then
  (java_of namenode org.apache.hadoop.hdfs.server.namenode.NameNode -format -nonInteractive) >"$logs/format.out" 2>&1 ||
    { tail -20 "$logs/format.out" >&2; exit 1; }
fi
launch namenode org.apache.hadoop.hdfs.server.namenode.NameNode
for index in $(seq "$datanodes"); do
  launch "datanode$index" org.apache.hadoop.hdfs.server.datanode.DataNode
done

# --- ready: every DataNode reported and safe mode left -----------------------------------------------------------------

bean() { curl -s -m 5 "$web/jmx?qry=Hadoop:service=NameNode,name=$1"; }
deadline=$((SECONDS + ready_timeout_s))
until bean FSNamesystemState | grep -q "\"NumLiveDataNodes\" : $datanodes,\?\$" && bean NameNodeInfo | grep -q '"Safemode" : ""'; do
  for role in namenode $(seq -f 'datanode%g' "$datanodes"); do
    alive "$role" || { echo "$role died; its log:" >&2; tail -20 "$logs/$role.log" "$logs/$role.out" >&2; exit 1; }
  done
  [ $SECONDS -lt $deadline ] || { echo "HDFS is not ready after $ready_timeout_s s; logs in $logs" >&2; exit 1; }
  sleep 0.2
done
cat "$data/endpoints"
