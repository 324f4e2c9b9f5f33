#!/bin/sh
# The inner loop: the unit tests, and beside them lint, types and import contracts. All that is wrong is told of at once.
set -eu
cd "$(dirname "$0")/.."
py=.venv/bin/python

read_the_code() {
    $py -m ruff format --check . && $py -m ruff check . && .venv/bin/lint-imports --no-logo && $py -m mypy
}

# In memory where there is room for it: many tests write as an outbox does, and wait for the disk at each commit.
folder=/dev/shm
[ -w "$folder" ] && [ "$(df -Pk "$folder" | awk 'NR == 2 {print $4}')" -gt 2000000 ] || folder=${TMPDIR:-/tmp}
folder=$(mktemp -d "$folder/lineside-XXXXXX")
chmod 755 "$folder" # some tests read as another user
reading=
trap '[ -z "$reading" ] || kill "$reading" 2>/dev/null || true; rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM

read_the_code >"$folder/read" 2>&1 &
reading=$!
is_right=true
TMPDIR=$folder HYPOTHESIS_PROFILE=check \
    $py -m pytest tests/unit -q -n 2 --dist worksteal -p no:cacheprovider --basetemp="$folder/t" "$@" || is_right=false
if wait "$reading"; then
    echo "Lint, types and import contracts are as they should be."
else
    is_right=false
    cat "$folder/read"
fi
reading=
$is_right
