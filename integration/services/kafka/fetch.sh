#!/usr/bin/env bash
# Brings Kafka's jars from Maven Central into the cache folder, once for each version of pom.xml, and prints the folder. It also
# holds `formatted`, the log folder of a node that has never run: to make one takes a JVM's start, to copy it nothing.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${THALWEG_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/thalweg}/kafka
jars=$cache/jars-$(sha256sum <"$here/pom.xml" | cut -c1-12)

if [ ! -d "$jars" ]; then
  "$here/../require.sh" java mvn
  mkdir -p "$cache"
  # Built beside its place and renamed, so that an interrupted download is never taken for a whole one.
  staging=$(mktemp -d "$(cd "$cache" && pwd)/.fetch-XXXXXX")
  scratch=$(mktemp -d)
  trap 'rm -rf "$staging" "$scratch"' EXIT
  echo "fetching Kafka's jars with Maven into $jars" >&2
  # Maven leaves files beside the pom.xml and in the current folder: both are thrown away.
  cp "$here/pom.xml" "$scratch"
  cd "$scratch"
  mvn -q -B dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$staging" >&2
  cd "$OLDPWD"
  # What start.sh gives a node does not matter here, apart from its id.
  cat >"$scratch/format.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:2
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:1,CONTROLLER://127.0.0.1:2
log.dirs=$staging/formatted
PROPERTIES
  java -Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dlog4j2.configurationFile="$here/log4j2.properties" -Dthalweg.log="$scratch/format.log" \
    -cp "$staging/*" kafka.tools.StorageTool format --cluster-id AAAAAAAAAAAAAAAAAAAAAA --config "$scratch/format.properties" >&2
  chmod 755 "$staging"
  mv -T "$staging" "$jars" 2>/dev/null || [ -d "$jars" ]
fi
echo "$jars"
