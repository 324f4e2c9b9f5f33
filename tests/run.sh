#!/bin/sh
# Every check and every test, cheapest first; the first failure ends the run.
set -eu
cd "$(dirname "$0")/.."
py=.venv/bin/python
$py -m ruff format --check .
$py -m ruff check .
.venv/bin/lint-imports --no-logo
$py -m mypy
$py -m pytest tests/unit -n 2 --dist worksteal "$@"
# Two processes, each with servers of its own: these tests wait for the servers more than they compute.
$py -m pytest tests/contract tests/system -n 2 --dist loadfile "$@"
# What computes on all cores, or kills and counts under load, has the machine to itself.
$py -m pytest tests --ignore=tests/unit --ignore=tests/contract --ignore=tests/system --ignore=tests/timescale --ignore=tests/services "$@"
