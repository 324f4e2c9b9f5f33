#!/bin/sh
# Make .venv with the extra $1 of this project ("demo", "dev"), with the versions of constraints.txt.
# Does nothing when it has been done for these files already.
set -eu
cd "$(dirname "$0")/.."
extra=$1
stamp=.venv/.lineside-$extra

fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

fresh() {
    [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(fingerprint)" ]
}

fingerprint() {
    cat pyproject.toml constraints.txt | cksum
    pwd
}

find_python() {
    for name in python3 python3.13 python3.12 python3.11; do
        if command -v "$name" >/dev/null 2>&1 &&
            "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
}

fresh && exit 0
python=$(find_python)
[ -n "$python" ] || fail "Lineside needs Python 3.11 or newer; install it (Debian: apt-get install python3 python3-venv)."
if [ ! -x .venv/bin/python ]; then
    printf 'making .venv with %s\n' "$("$python" --version)"
    "$python" -m venv .venv >/dev/null 2>.venv.log || {
        cat .venv.log >&2
        rm -rf .venv .venv.log
        fail "No virtual environment could be made; install the venv module (Debian: apt-get install python3-venv)."
    }
    rm -f .venv.log
fi
log=.venv/install.log
printf 'installing lineside[%s] into .venv\n' "$extra"
# Shown: which package is being looked at; kept: all of it, for when something fails.
{
    .venv/bin/python -m pip install --disable-pip-version-check --no-input -c constraints.txt -e ".[$extra]" 2>&1
    echo "exit status $?"
} | tee "$log" | while IFS= read -r line; do
    case $line in
    Collecting*) printf '\r\033[K  %s' "$(printf '%s' "${line#Collecting }" | cut -c1-70)" ;;
    "Installing collected"*) printf '\r\033[K  unpacking' ;;
    esac
done
printf '\r\033[K'
grep -q '^exit status 0$' "$log" || {
    cat "$log" >&2
    fail "The installation failed; what pip said is above, and in $log."
}
fingerprint >"$stamp"
