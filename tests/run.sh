#!/bin/sh
# Every check and every test, cheapest first; the first failure ends the run.
set -eu
cd "$(dirname "$0")/.."
py=.venv/bin/python
$py -m ruff format --check .
$py -m ruff check .
.venv/bin/lint-imports --no-logo
$py -m mypy
$py -m pytest tests/unit -n 2 "$@"
$py -m pytest tests --ignore=tests/unit --ignore=tests/timescale "$@"
