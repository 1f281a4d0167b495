#!/bin/bash
# Run test programs that print TAP and print one TAP for all of them:
#
#     tests/tap-run.sh [-t SECONDS] PROGRAM...
#
# Each program gets SECONDS (default 120) and is judged by tests/tap-sum.sh; a file that is not there
# or cannot be run is a failure, and so is an empty list.
set -u
here=$(dirname "$0")
limit=120
if [ "${1-}" = -t ]; then
    limit=$2
    shift 2
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for program; do
    name=$(basename "$program" .sh)
    if [ ! -x "$program" ]; then
        echo "not ok - $name: $program is there and can be run"
        continue
    fi
    # Straight to a file: a pipe would be held open by whatever the program left behind.
    { timeout -k 5 "$limit" "$program" >"$work/out" 2>&1 </dev/null; } 2>/dev/null
    "$here/tap-sum.sh" $? "$name" <"$work/out"
done >"$work/all"

[ $# -gt 0 ] || echo "not ok - there is a test program to run" >>"$work/all"
cat "$work/all"
echo "1..$(grep -Ec '^(not )?ok ' "$work/all")"
! grep -q '^not ok ' "$work/all"
