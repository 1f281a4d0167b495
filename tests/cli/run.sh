#!/bin/bash
# Run the command-line tests on this host and print TAP.
#
# The environment's FLAVOUR names the build (default i686-counter). Two kinds of tests:
#
#   catalogue     one test a line: name | native, lab or both | status | regex | arguments
#                 The name is a sentence; the status is what vmm ends with; the extended regular
#                 expression (or "") must match a line of stdout or stderr; %NAME as a word of the
#                 arguments, or after a word's =, is the sample of that name. Arguments are split at
#                 blanks; quotes mean nothing.
#                 A "both" line that ends with 77 because this host cannot run that guest is
#                 skipped: the lab runs it as well.
#   test_*.sh     anything that takes more than one command. Each prints TAP of its own and finds
#                 VMM (the binary) and SAMPLES (the folder of the guests) in its environment.
#
# Arguments choose: run.sh catalogue, run.sh tests/cli/test_x.sh ...; without any, all run.
set -u
cd "$(dirname "$0")/../.." || exit 1

VMM=$PWD/build/${FLAVOUR:=i686-counter}/vmm
SAMPLES=$PWD/build/$FLAVOUR/samples
export VMM SAMPLES FLAVOUR
catalogue=${CATALOGUE:-tests/cli/catalogue}
limit=60
n=0
failed=0

not_ok() { # name, what was seen
    failed=$((failed + 1))
    echo "not ok $n - $1"
    printf '%s\n' "$2" | sed 's/^/# /'
}

run_line() { # name, status, regex, arguments
    local name=$1 want=$2 regex=$3 output status
    local -a args

    n=$((n + 1))
    # As the lab does it: % begins a word, or what follows a word's =.
    read -r -a args <<<"$(printf '%s' "$4" | sed -E "s#(^|[[:blank:]=])%#\\1$SAMPLES/#g")"
    # The rest is read too: a vmm that cannot write would end otherwise than it does.
    output=$(timeout -k 5 $limit "$VMM" "${args[@]}" 2>&1 </dev/null |
        { head -c 65536 | tr -d '\0'; cat >/dev/null; }
        exit "${PIPESTATUS[0]}")
    status=$?
    if [ $status = 77 ] && [ "$want" != 77 ] && [ "$5" = both ]; then
        echo "ok $n - $name # SKIP $(printf '%s\n' "$output" | head -n 1) (lab)"
        return
    fi
    if [ "$status" != "$want" ]; then
        not_ok "$name" "vmm $4: status $status, wanted $want
$output"
    elif [ -n "$regex" ] && ! printf '%s\n' "$output" | grep -aqE -e "$regex"; then
        not_ok "$name" "vmm $4: no line matches $regex
$output"
    else
        echo "ok $n - $name"
    fi
}

trim() {
    local s=$1

    s=${s#"${s%%[! ]*}"}
    printf '%s' "${s%"${s##*[! ]}"}"
}

run_catalogue() {
    local line name where want regex args

    while IFS= read -r line || [ -n "$line" ]; do
        case $line in
        '' | '#'*) continue ;;
        esac
        name=$line where='' want='' regex='' args=''
        # Only the regex may hold a | of its own.
        if [[ $line =~ ^([^|]*)\|([^|]*)\|([^|]*)\|(.*)\|([^|]*)$ ]]; then
            name=$(trim "${BASH_REMATCH[1]}")
            where=$(trim "${BASH_REMATCH[2]}")
            want=$(trim "${BASH_REMATCH[3]}")
            regex=$(trim "${BASH_REMATCH[4]}")
            args=$(trim "${BASH_REMATCH[5]}")
        fi
        [ "$regex" != '""' ] || regex=
        case $where:$want in
        lab:*[0-9]) ;;
        native:*[0-9] | both:*[0-9]) run_line "$name" "$want" "$regex" "$args" "$where" ;;
        *)
            n=$((n + 1))
            not_ok "$name" "not a line of the catalogue: $line"
            ;;
        esac
    done
}

# A program's cases become cases of this one.
run_program() {
    local line

    while IFS= read -r line; do
        case $line in
        1..*) ;;
        'ok '* | 'not ok '*)
            n=$((n + 1))
            [ "${line%% *}" = ok ] || failed=$((failed + 1))
            printf '%s\n' "${line/ok - /ok $n - }"
            ;;
        *) printf '%s\n' "$line" ;;
        esac
    done < <(tests/tap-run.sh -t "${PROGRAM_LIMIT:-$((300 * ${TEST_SCALE:-1}))}" "$1")
}

[ $# -gt 0 ] || set -- catalogue tests/cli/test_*.sh
for what; do
    if [ "$what" != catalogue ]; then
        # No script at all leaves the pattern as it was.
        [ "$what" = 'tests/cli/test_*.sh' ] || run_program "$what"
    elif [ -r "$catalogue" ]; then
        run_catalogue <"$catalogue"
    else
        n=$((n + 1))
        not_ok "the catalogue is there" "$catalogue: cannot be read"
    fi
done
echo "1..$n"
[ "$n" != 0 ] && [ "$failed" = 0 ]
