#!/bin/sh
# A complete plant on this machine: installs Lineside into .venv when needed, then runs `lineside demo`.
set -eu
cd "$(dirname "$0")/.."
sh deploy/install.sh demo
exec .venv/bin/lineside demo "$@"
