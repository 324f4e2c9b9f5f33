#!/bin/sh
# Install what the tests need beside Python: programs from Debian's packages, Kafka and Eclipse Tahu from Maven Central,
# sparkplug-payload, node-opcua, modbus-serial and Prism from npm, stripe-mock as a Go module.
# What cannot be installed is named in one line, and the run fails: a missing server never becomes a skipped test.
set -eu
cd "$(dirname "$0")/../.."

missing=""
need() { # need PROGRAM PACKAGE
    command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
need mosquitto mosquitto
need java default-jre-headless
need javac default-jdk-headless
need mvn maven
need node nodejs
need npm npm
need go golang-go
need gcc gcc
need zsh zsh
need fish fish
[ -e /usr/include/stdio.h ] || missing="$missing libc6-dev"
need spin spin
need pkg-config pkg-config
if command -v pkg-config >/dev/null 2>&1; then
    pkg-config --exists libmodbus || missing="$missing libmodbus-dev"
else
    missing="$missing libmodbus-dev"
fi

if [ -n "$missing" ]; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        echo "the tests need these Debian packages, and may not install them:$missing" >&2
        exit 1
    fi
    echo "installing$missing"
    log=$(mktemp)
    # shellcheck disable=SC2086  the packages are words
    if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        echo "these Debian packages could not be installed:$missing" >&2
        exit 1
    fi
    rm -f "$log"
    # A package may start its server; the tests start their own.
    if command -v systemctl >/dev/null 2>&1; then
        systemctl disable --now mosquitto >/dev/null 2>&1 || true
    fi
fi
.venv/bin/python -m tests.servers.prepare
