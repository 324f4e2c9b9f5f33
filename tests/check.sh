#!/bin/sh
# The inner loop: the unit tests, and beside them lint, types and import contracts. All that is wrong is told of at once.
set -eu
cd "$(dirname "$0")/.."
. tests/begin.sh
make_folder 2000000
begin_reading
is_right=true
HYPOTHESIS_PROFILE=check run_tests tests/unit -q -n 2 --dist worksteal "$@" || is_right=false
end_reading || is_right=false
$is_right
