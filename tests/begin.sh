# Sourced by check.sh and run.sh: where the tests write, and what reads the code beside them.
py=.venv/bin/python
unset PYTHONDONTWRITEBYTECODE # each of the processes that tests start would compile every module anew
folder=
reading=
trap '[ -z "$reading" ] || kill "$reading" 2>/dev/null || true; [ -z "$folder" ] || rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM

# Makes $folder: in memory where $1 KB are free there, as tests write to disks, and wait for them at each commit; unless no
# program may be run from there, as in some containers: tests build some.
make_folder() {
    where=/dev/shm
    if [ -w "$where" ] && [ "$(df -Pk "$where" | awk 'NR == 2 {print $4}')" -gt "$1" ]; then
        folder=$(mktemp -d "$where/lineside-XXXXXX")
        printf '#!/bin/sh\n' >"$folder/program"
        chmod 755 "$folder/program"
        "$folder/program" 2>/dev/null || {
            rm -rf "$folder"
            folder=
        }
    fi
    [ -n "$folder" ] || folder=$(mktemp -d "${TMPDIR:-/tmp}/lineside-XXXXXX")
    chmod 755 "$folder" # some tests read as another user
}

# Starts to read the code beside the tests: format, lint, import contracts, types.
begin_reading() {
    { $py -m ruff format --check . && $py -m ruff check . && .venv/bin/lint-imports --no-logo && $py -m mypy; } \
        >"$folder/read" 2>&1 &
    reading=$!
}

# Waits for it, and says what was found.
end_reading() {
    if wait "$reading"; then
        reading=
        echo "Lint, types and import contracts are as they should be."
    else
        reading=
        cat "$folder/read"
        return 1
    fi
}

# Runs pytest with its files in $folder. What schemathesis brings is not used: to load it takes 0.35 CPU-seconds a process.
run_tests() {
    TMPDIR=$folder $py -m pytest -p no:cacheprovider -p no:schemathesis --basetemp="$folder/t" "$@"
}
