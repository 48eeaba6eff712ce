#!/usr/bin/env bash
# Brings Hadoop's jars from Maven Central into the cache folder, once for each version of pom.xml, and prints the folder.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${THALWEG_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/thalweg}/hadoop
jars=$cache/jars-$(sha256sum <"$here/pom.xml" | cut -c1-12)

if [ ! -d "$jars" ]; then
  "$here/../require.sh" java mvn curl
  mkdir -p "$cache"
  # Built beside its place and renamed, so that an interrupted download is never taken for a whole one.
  staging=$(mktemp -d "$(cd "$cache" && pwd)/.fetch-XXXXXX")
  scratch=$(mktemp -d)
  trap 'rm -rf "$staging" "$scratch"' EXIT
  echo "fetching Hadoop's jars with Maven into $jars" >&2
  # Maven leaves files beside the pom.xml and in the current folder: both are thrown away.
  cp "$here/pom.xml" "$scratch"
  cd "$scratch"
  mvn -q -B dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$staging" >&2
  # The daemons refuse to start without webapps/hdfs and webapps/datanode, which only the tests jar contains.
  version=$(sed -n 's:.*<hadoop.version>\(.*\)</hadoop.version>.*:\1:p' "$here/pom.xml")
  mvn -q -B dependency:unpack -Dartifact="org.apache.hadoop:hadoop-hdfs:$version:jar:tests" \
    -Dmdep.unpack.includes='webapps/**' -DoutputDirectory="$staging/webapps-root" >&2
  cd "$OLDPWD"
  chmod 755 "$staging"
  mv -T "$staging" "$jars" 2>/dev/null || [ -d "$jars" ]
fi
echo "$jars"
