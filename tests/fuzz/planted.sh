#!/bin/sh
# Proves that the fuzz targets can find something: for each planted/TARGET-NAME.patch the sources are
# copied, the patch takes out one check, and the target, started from the committed corpus with a fixed
# seed, has to crash within a minute. One TAP test a patch. An argument chooses patches by pattern.
set -u
cd "$(dirname "$0")/../.." || exit 1
n=0
failed=0
seconds=60

# plant PATCH: 0 when the planted bug was found.
plant() {
    name=$(basename "$1" .patch)
    target=${name%%-*}
    tree=build/planted/$name
    rm -rf "$tree"
    mkdir -p "$tree/seeds" "$tree/tests/fuzz" "$tree/tests/unit" "$tree/guest-samples" || return 1
    cp -r Makefile mem paging boot hv "$tree/" || return 1
    cp tests/tests.mk "$tree/tests/" || return 1
    cp guest-samples/*.mk "$tree/guest-samples/" || return 1
    cp tests/fuzz/*.c tests/fuzz/*.h "$tree/tests/fuzz/" || return 1
    cp tests/unit/*.h "$tree/tests/unit/" || return 1
    patch -s -d "$tree" -p1 <"$1" || return 1
    make -s -C "$tree" "build/fuzz/$target" || return 1
    (
        cd "$tree" || exit 1
        timeout $((seconds + 30)) "build/fuzz/$target" -seed=1 -max_total_time=$seconds -max_len=4096 \
            -artifact_prefix=found- seeds "../../../tests/fuzz/corpus/${target#fuzz_}"
    )
    status=$?
    # libFuzzer's status for a crash, and a report of one, not of a leak, a slow input or a missing file.
    [ $status -eq 77 ] || [ $status -eq 1 ] || return 1
    [ -n "$(find "$tree" -maxdepth 1 -name 'found-crash-*')" ]
}

mkdir -p build/planted
for patch in tests/fuzz/planted/${1:-*}.patch; do
    [ -f "$patch" ] || continue
    name=$(basename "$patch" .patch)
    log=build/planted/$name.log
    n=$((n + 1))
    start=$(date +%s)
    if plant "$patch" >"$log" 2>&1; then
        echo "ok $n - ${name%%-*} finds the planted bug ${name#*-}"
        echo "# $(($(date +%s) - start)) s with the build"
    else
        tail -n 20 "$log" | sed 's/^/# /'
        echo "not ok $n - ${name%%-*} finds the planted bug ${name#*-}"
        failed=1
    fi
done
if [ $n -eq 0 ]; then
    echo "not ok 1 - there is a planted bug"
    n=1
    failed=1
fi
echo "1..$n"
exit $failed
