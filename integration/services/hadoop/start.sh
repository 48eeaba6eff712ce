#!/usr/bin/env bash
# Starts a NameNode and DataNodes, each its own JVM, on free ports of the loopback interface, and waits until files can be
# written. What runs already is left alone, so it also brings back a node that was stopped, on its old ports.
# With `ha` there are two NameNodes behind the name service `thalweg`: namenode1, which is made the active one, and namenode2.
#
# usage: [THALWEG_HDFS_HOST=ADDRESS] start.sh DATA_FOLDER [DATANODES] [ha]   (2 DataNodes by default)
# writes: DATA_FOLDER/conf/client             a HADOOP_CONF_DIR for clients
#         DATA_FOLDER/endpoints               namenode=hdfs://HOST:PORT and web=http://HOST:PORT, for scripts and tests; with `ha` the
#                                             name service, and standby=http://HOST:PORT of the other NameNode
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$1"
data=$(cd "$1" && pwd)
datanodes=${2:-2}
. "$here/settings.sh"
mkdir -p "$pids" "$logs" "$conf" "$data/tmp"
ready_timeout_s=120
# Where all listen, if others than this host are to reach it.
host=${THALWEG_HDFS_HOST:-127.0.0.1}

jars=$("$here/fetch.sh")
"$here/../require.sh" java curl

# --- ports and configuration: once, so that a restarted node keeps its address -----------------------------------------

free_port() { # below the ephemeral range, so that no outgoing connection takes it meanwhile
  local port
  while :; do
    port=$((20000 + RANDOM % 10000))
    (exec 3<>"/dev/tcp/$host/$port") 2>/dev/null || { echo "$port"; return; }
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

# Without `ha` one NameNode by its address, else two by the name of their service.
if [ "${3:-}" = ha ] || [ -d "$conf/namenode2" ]; then
  namenodes=(namenode1 namenode2)
else
  namenodes=(namenode)
fi

if [ ! -f "$data/endpoints" ]; then
  rpc=$host:$(free_port)
  web=$host:$(free_port)
  if [ ${#namenodes[@]} = 1 ]; then
    service=$rpc
    addresses="dfs.namenode.rpc-address $rpc
dfs.namenode.http-address $web"
    endpoints="web=http://$web"
  else
    service=thalweg
    web2=$host:$(free_port)
    addresses="dfs.nameservices $service
dfs.ha.namenodes.$service nn1,nn2
dfs.namenode.rpc-address.$service.nn1 $rpc
dfs.namenode.http-address.$service.nn1 $web
dfs.namenode.rpc-address.$service.nn2 $host:$(free_port)
dfs.namenode.http-address.$service.nn2 $web2
dfs.client.failover.proxy.provider.$service org.apache.hadoop.hdfs.server.namenode.ha.ConfiguredFailoverProxyProvider
dfs.ha.fencing.methods shell(/bin/true)"
    endpoints="web=http://$web
standby=http://$web2"
  fi
  for role in client "${namenodes[@]}" $(seq -f 'datanode%g' "$datanodes"); do
    mkdir -p "$conf/$role"
    cp "$here/log4j.properties" "$conf/$role/"
    write_xml "$conf/$role/core-site.xml" <<CORE
fs.defaultFS hdfs://$service
hadoop.tmp.dir $data/tmp
CORE
  done
  write_xml "$conf/client/hdfs-site.xml" <<CLIENT
dfs.replication 1
dfs.blocksize 1048576
$addresses
CLIENT
  for role in "${namenodes[@]}"; do
    shared=
    # Both read the edits of whoever is active from a folder; in production they would be in journal nodes.
    [ "$service" = "$rpc" ] || shared="dfs.ha.namenode.id nn${role#namenode}
dfs.namenode.shared.edits.dir file://$data/edits
dfs.ha.tail-edits.period 1"
    write_xml "$conf/$role/hdfs-site.xml" <<NAMENODE
dfs.replication 1
dfs.blocksize 1048576
dfs.namenode.name.dir file://$data/$role
$addresses
dfs.namenode.safemode.extension 0
dfs.namenode.datanode.registration.ip-hostname-check false
dfs.namenode.fs-limits.min-block-size 4096
dfs.heartbeat.interval 1
$shared
NAMENODE
  done
  for index in $(seq "$datanodes"); do
    # Every DataNode calls itself by another loopback address: block locations differ, and no name needs resolving. The NameNode
    # sends block clients to the address that it saw (127.0.0.1) and web clients to the name.
    name=$host
    [ "$host" != 127.0.0.1 ] || name=127.0.0.$index
    write_xml "$conf/datanode$index/hdfs-site.xml" <<DATANODE
dfs.replication 1
$addresses
dfs.datanode.data.dir file://$data/datanode$index
dfs.datanode.hostname $name
dfs.datanode.address $host:$(free_port)
dfs.datanode.http.address $name:$(free_port)
dfs.datanode.ipc.address $host:$(free_port)
dfs.datanode.du.reserved 0
dfs.heartbeat.interval 1
DATANODE
  done
  printf 'namenode=hdfs://%s\n%s\n' "$service" "$endpoints" >"$data/endpoints"
fi

# --- processes ---------------------------------------------------------------------------------------------------------

launch() { # role, main class
  alive "$1" && return
  (cd "$data" && java_of "$@" >>"$logs/$1.out" 2>&1 </dev/null) &
  echo $! >"$pids/$1.pid"
}

first=${namenodes[0]}
if [ ! -f "$data/$first/current/VERSION" ]; then
  (java_of "$first" org.apache.hadoop.hdfs.server.namenode.NameNode -format -nonInteractive) >"$logs/format.out" 2>&1 ||
    { tail -n 20 "$logs/format.out" >&2; exit 1; }
  # The other one begins with the same empty file system.
  for role in "${namenodes[@]:1}"; do cp -r "$data/$first" "$data/$role"; done
fi
for role in "${namenodes[@]}"; do
  launch "$role" org.apache.hadoop.hdfs.server.namenode.NameNode
done
for index in $(seq "$datanodes"); do
  launch "datanode$index" org.apache.hadoop.hdfs.server.datanode.DataNode
done

# --- ready: every DataNode reported to every NameNode and safe mode left ----------------------------------------------

bean() { curl -s -m 5 "$1/jmx?qry=Hadoop:service=NameNode,name=$2"; }
is_ready() { # web address of a NameNode
  bean "$1" FSNamesystemState | grep -q "\"NumLiveDataNodes\" : $datanodes,\?\$" && bean "$1" NameNodeInfo | grep -q '"Safemode" : ""'
}
deadline=$((SECONDS + ready_timeout_s))
for web in $(sed -n -E 's/^(web|standby)=//p' "$data/endpoints"); do
  until is_ready "$web"; do
    for role in "${namenodes[@]}" $(seq -f 'datanode%g' "$datanodes"); do
      alive "$role" || { echo "$role died; its log:" >&2; tail -n 20 "$logs/$role.log" "$logs/$role.out" >&2; exit 1; }
    done
    [ $SECONDS -lt $deadline ] || { echo "HDFS is not ready after $ready_timeout_s s; logs in $logs" >&2; exit 1; }
    sleep 0.2
  done
done
[ ${#namenodes[@]} = 1 ] || "$here/activate.sh" "$data" nn1
cat "$data/endpoints"
