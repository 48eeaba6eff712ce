#!/usr/bin/env bash
# Starts one Kafka node (broker and controller, KRaft) on free ports of the loopback interface, and waits until topics can be made.
# What runs already is left alone, so it also brings back a node that was stopped, on its old ports, with its data.
#
# usage: start.sh DATA_FOLDER [KEY=VALUE...]     (more broker properties, kept for restarts)
# writes: DATA_FOLDER/endpoints                  bootstrap=HOST:PORT and sasl=HOST:PORT, for scripts and tests
#
# `sasl` is SASL_PLAINTEXT with the mechanism PLAIN and one user: alice, password alice-secret.
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$1"
data=$(cd "$1" && pwd)
shift
. "$here/settings.sh"
ready_timeout_s=120

jars=$("$here/fetch.sh")
"$here/../require.sh" java

free_port() { # below the ephemeral range, so that no outgoing connection takes it meanwhile
  local port
  while :; do
    port=$((20000 + RANDOM % 10000))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
  done
}

if [ ! -f "$data/endpoints" ]; then
  plain=127.0.0.1:$(free_port)
  sasl=127.0.0.1:$(free_port)
  controller=127.0.0.1:$(free_port)
  cp -R "$jars/formatted" "$data/logs"
  # Small internal topics and buffers: a node of a test holds little. No wait before a group's first assignment. Short sessions: a node that
  # comes back is let in when its old self has timed out.
  cat >"$data/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@$controller
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://$plain,SASL_PLAINTEXT://$sasl,CONTROLLER://$controller
advertised.listeners=PLAINTEXT://$plain,SASL_PLAINTEXT://$sasl
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.sasl_plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_alice="alice-secret";
log.dirs=$data/logs
auto.create.topics.enable=false
num.partitions=1
num.network.threads=2
num.io.threads=2
background.threads=2
offsets.topic.replication.factor=1
offsets.topic.num.partitions=2
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=2
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=2
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
log.cleaner.dedupe.buffer.size=2097152
transaction.abort.timed.out.transaction.cleanup.interval.ms=500
PROPERTIES
  printf '%s\n' "$@" >>"$data/server.properties"
  printf 'bootstrap=%s\nsasl=%s\n' "$plain" "$sasl" >"$data/endpoints"
fi

if ! alive; then
  : >"$data/kafka.log"
  # In a session of its own: a daemon does not die with the terminal, stop.sh ends it.
  setsid nice -n 5 java -Xms64m -Xmx256m -Xss512k -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:MaxMetaspaceSize=128m -XX:-UsePerfData \
    -Xshare:auto -Djava.net.preferIPv4Stack=true -Dthalweg.data="$data" -Dthalweg.log="$data/kafka.log" \
    -Dlog4j2.configurationFile="$here/log4j2.properties" -cp "$jars/*" \
    kafka.Kafka "$data/server.properties" >"$data/kafka.out" 2>&1 </dev/null &
  echo $! >"$data/pid"
fi

deadline=$((SECONDS + ready_timeout_s))
until grep -q 'Kafka Server started' "$data/kafka.log"; do
  alive || { echo "kafka died; its log:" >&2; tail -n 20 "$data/kafka.log" "$data/kafka.out" >&2; exit 1; }
  [ $SECONDS -lt $deadline ] || { echo "Kafka is not ready after $ready_timeout_s s; log in $data/kafka.log" >&2; exit 1; }
  sleep 0.1
done
cat "$data/endpoints"
