#!/bin/sh
# Make .venv with the extra $1 of this project ("demo", "dev"), with the versions of constraints.txt.
# Does nothing when it has been done for these files already.
set -eu
cd "$(dirname "$0")/.."
extra=$1
log=.venv/install.log

fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

fingerprint() {
    cat pyproject.toml constraints.txt | cksum
    pwd
}

is_installed() { # "dev" has all that "demo" has
    for one in "$extra" dev; do
        if [ -f ".venv/.lineside-$one" ] && [ "$(cat ".venv/.lineside-$one")" = "$(fingerprint)" ]; then
            return 0
        fi
    done
    return 1
}

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    for name in python3 python3.13 python3.12 python3.11; do
        if command -v "$name" >/dev/null 2>&1 && is_new_enough "$name"; then
            command -v "$name"
            return
        fi
    done
}

make_environment() { # mends one that was left half made
    python=$(find_python)
    [ -n "$python" ] ||
        fail "Lineside needs Python 3.11 or newer; install it (Debian: apt-get install python3 python3-venv)."
    printf 'making .venv with %s\n' "$("$python" --version)"
    said=$("$python" -m venv .venv 2>&1) || {
        printf '%s\n' "$said" >&2
        fail "No virtual environment could be made here. Where Python has no venv module: apt-get install python3-venv."
    }
}

show_progress() { # on a terminal one line that changes, elsewhere a line now and then
    if [ -t 1 ] && [ "${TERM:-dumb}" != dumb ]; then
        same_line='\r\033[K'
        end=''
        every=1
    else
        same_line=''
        end='\n'
        every=20
    fi
    count=0
    while IFS= read -r line; do
        case $line in
        Collecting*)
            count=$((count + 1))
            name=${line#Collecting }
            [ $((count % every)) -ne 0 ] ||
                printf "$same_line  %s packages found, now: %s$end" "$count" "${name%%[!a-zA-Z0-9._-]*}"
            ;;
        "Installing collected"*) printf "$same_line  unpacking %s packages$end" "$count" ;;
        esac
    done
    printf "$same_line"
}

is_installed && exit 0
if [ ! -x .venv/bin/python ] || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    make_environment
fi
is_new_enough .venv/bin/python || fail "The Python in .venv is older than 3.11; remove the folder .venv and try again."
printf 'installing lineside[%s] into .venv, for the first time this takes a minute or two\n' "$extra"
# Shown: how far it is; kept: all of it, for when something fails.
{
    .venv/bin/python -m pip install --disable-pip-version-check --no-input -c constraints.txt -e ".[$extra]" 2>&1 &&
        echo "exit status 0"
} | tee "$log" | show_progress
grep -q '^exit status 0$' "$log" || {
    cat "$log" >&2
    fail "The installation failed; what pip said is above, and in $log."
}
fingerprint >".venv/.lineside-$extra"
echo "installed"
