#!/bin/bash
# make lint: what can be said of the tree without running it, and a proof that each check can fail.
set -u
cd "$(dirname "$0")/../.." || exit 1
exec tests/tap-run.sh -t 900 tests/lint/floors.py tests/lint/headers.sh tests/lint/rules.py \
    tests/lint/scripts.sh tests/lint/static.sh tests/lint/selftest.sh
