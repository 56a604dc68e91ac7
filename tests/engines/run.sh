#!/usr/bin/env bash
# The tests that need real engines, on Apache Kafka and PostgreSQL: what `make test-kafka` calls.
# Arguments go on to pytest; its summary is the last line and its exit code is ours.
set -euo pipefail
cd "$(dirname "$0")/../.."

# Install Debian's package, as root; else say what to install.
need() {
    local package=$1
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "installing $package" >&2
        { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$package"; } >&2
    else
        echo "make test-kafka needs $package: install it (Debian: apt-get install $package) and try again" >&2
        exit 1
    fi
}

# Kafka's brokers run on Java 17 and newer.
has_java() {
    local version
    version=$("${JAVA_HOME:+$JAVA_HOME/bin/}java" -XshowSettings:properties -version 2>&1 |
        sed -n 's/.*java\.specification\.version = //p') || return 1
    [ "${version%%.*}" -ge 17 ] 2>/dev/null
}

has_postgres() {
    compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || command -v postgres >/dev/null
}

[ -x .venv/bin/pytest ] || { echo "there is no .venv with pytest: run make setup first" >&2; exit 1; }
has_java || need openjdk-17-jre-headless
has_java || need default-jre-headless
command -v mvn >/dev/null || need maven
has_postgres || need postgresql
command -v openssl >/dev/null || need openssl

# Jars of two releases must not meet on one class path, so a changed list begins with an empty folder.
jars=tests/engines/target
if [ ! "$jars/resolved" -nt tests/engines/pom.xml ]; then
    rm -rf "$jars"
    mvn --batch-mode --quiet -f tests/engines/pom.xml package >&2
    touch "$jars/resolved"
fi

on_engines=(.venv/bin/python -m tests.engines.engines)
[ $# -eq 0 ] || exec "${on_engines[@]}" .venv/bin/pytest "$@"
exec "${on_engines[@]}" sh -ec \
    '.venv/bin/pytest -n auto tests/contracts tests/projections; .venv/bin/pytest tests/system tests/kafka'
