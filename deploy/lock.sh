#!/bin/sh
# Write constraints.txt: the versions that a fresh installation gets now, for every extra. It names no registry.
set -eu
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check '.[dev]'
{
    echo "# The versions that Lineside is built and tested with; made by \`make lock\`."
    "$folder/venv/bin/python" -m pip freeze --disable-pip-version-check --exclude lineside | sort -f
} >"$folder/constraints.txt"
mv "$folder/constraints.txt" constraints.txt
