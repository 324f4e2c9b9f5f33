#!/bin/sh
# Every check and every test; the first part that fails ends the run.
set -eu
cd "$(dirname "$0")/.."
. tests/begin.sh
make_folder 3000000
begin_reading
is_right=true
run_tests tests/unit -n 2 --dist worksteal "$@" || is_right=false
end_reading || is_right=false
$is_right
# Two thousand seeds compute with both cores: alone, that is two minutes at most.
run_tests tests/simulation/test_seeds.py "$@"
# They wait for servers more than they compute: four at a time, each with servers of its own (see tests/side_by_side.py).
side_by_side="--dist loadgroup --no-loadscope-reorder"
elsewhere="--ignore=tests/unit --ignore=tests/simulation/test_seeds.py --ignore=tests/faults --ignore=tests/timescale --ignore=tests/services"
# shellcheck disable=SC2086  the options are words
run_tests tests -n 4 $side_by_side $elsewhere "$@"
# What kills under load and counts, with less beside it.
# shellcheck disable=SC2086
run_tests tests/faults -n 3 $side_by_side "$@"
