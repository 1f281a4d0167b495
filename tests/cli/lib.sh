# For the command-line tests, to be sourced: TAP cases over runs of $VMM, which may hold a path and
# leading words (strace ...).
#
#   case_is NAME STATUS REGEX COMMAND...   run, and demand the status and a line of output that matches
#   one_line                               the last run said exactly one line, and not a crash
#
# What the last run printed is in $out (stdout) and $err (stderr), its status in $status.
# shellcheck shell=bash
tests_n=0
out='' err='' status=0
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
# A write to a program that has ended fails, and does not end the script. Not '', which what the script starts
# would inherit: a handler is the default for them.
trap : PIPE

ok() {
    tests_n=$((tests_n + 1))
    echo "ok $tests_n - $1"
}

not_ok() { # name, what was seen
    tests_n=$((tests_n + 1))
    echo "not ok $tests_n - $1"
    printf '%s\n' "$2" | sed 's/^/# /'
}

skip() { # name, reason
    tests_n=$((tests_n + 1))
    echo "ok $tests_n - $1 # SKIP $2"
}

run() {
    timeout -k 5 60 "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
    status=$?
    out=$(tr -d '\0' <"$tmp/out")
    err=$(tr -d '\0' <"$tmp/err")
}

seen() {
    printf 'status %s\nstdout: %s\nstderr: %s\n' "$status" "$out" "$err"
}

check() { # name, condition as a command
    local name=$1

    shift
    if "$@" >/dev/null; then ok "$name"; else not_ok "$name" "$(seen)"; fi
}

# Not jq -e alone: to that an empty file is true (jq 1.6).
json() { # filter that holds of the one JSON value in the file (or stdin)
    jq -es "length == 1 and (.[0] | ($1))" "${@:2}"
}

matches() { # regex: a line of either stream
    [ -z "$1" ] || printf '%s\n%s\n' "$out" "$err" | grep -aqE -e "$1"
}

case_is() { # name, status, regex, command...
    local name=$1 want=$2 regex=$3

    shift 3
    run "$@"
    if [ "$status" != "$want" ]; then
        not_ok "$name" "wanted status $want of: $*
$(seen)"
    elif ! matches "$regex"; then
        not_ok "$name" "no line matches $regex
$(seen)"
    else
        ok "$name"
    fi
}

# A refusal is one line, perhaps with a hint, and nothing on stdout.
refused() { # name, status, regex, command...
    local name=$1 want=$2 regex=$3 lines

    shift 3
    run "$@"
    lines=$(printf '%s\n' "$err" | grep -vc '^hint: ')
    if [ "$status" != "$want" ]; then
        not_ok "$name" "wanted status $want of: $*
$(seen)"
    elif [ -n "$out" ] || [ "$lines" != 1 ] || ! printf '%s\n' "$err" | grep -aqE -e "^vmm: .*$regex"; then
        not_ok "$name" "wanted one line that matches $regex
$(seen)"
    else
        ok "$name"
    fi
}

done_testing() {
    echo "1..$tests_n"
}
