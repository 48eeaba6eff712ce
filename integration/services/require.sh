#!/usr/bin/env bash
# Makes sure that the named commands exist: installs them by apt-get when run as root, else says what to install.
# usage: require.sh [java] [mvn] [curl] [openssl] [python3] [ss] [ip]
set -euo pipefail

# Hadoop 3.4 runs on Java 11 to 21; 17 is what it is tested with here.
package_of() {
  case $1 in
    java) echo openjdk-17-jre-headless ;;
    mvn) echo maven ;;
    curl) echo curl ;;
    openssl) echo openssl ;;
    python3) echo python3-venv ;;
    ss | ip) echo iproute2 ;;
    *) echo "require.sh: unknown command \`$1\`" >&2; exit 2 ;;
  esac
}

packages=()
for command in "$@"; do
  command -v "$command" >/dev/null || packages+=("$(package_of "$command")")
done
[ ${#packages[@]} -gt 0 ] || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "installing ${packages[*]} with apt-get" >&2
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq >&2
  apt-get install -y -qq --no-install-recommends "${packages[@]}" >&2
else
  echo "missing: $*; install the packages \`${packages[*]}\` (names as in Debian) and run this again" >&2
  exit 1
fi
