#!/bin/sh
# Judge the TAP of one test program: tests/tap-sum.sh STATUS NAME <tap
#
# STATUS is how the program ended. What comes out is the same cases as "ok - NAME: case" and
# "not ok - NAME: case" behind their diagnostics, numbered by nobody, and one more failure for each way
# in which the program itself was wrong: no plan, two plans, more or fewer cases than planned, a case
# number out of order, "Bail out!", a signal, or a failure that no case explains. A plan of none
# ("1..0 # SKIP why") is one skipped case. A program that prints nothing cannot pass.
exec awk -v status="${1:?status}" -v name="${2:?name}" '
function wrong(what) {
    print "not ok - " name ": the test program " what
    failed++
}
/^(not )?ok([^a-zA-Z0-9_]|$)/ {
    line = $0
    bad = sub(/^not /, "", line)
    sub(/^ok */, "", line)
    n++
    if (match(line, /^[0-9]+/)) {
        if (substr(line, 1, RLENGTH) + 0 != n && !disorder) {
            disorder = 1
            print "# case " n " has number " substr(line, 1, RLENGTH)
        }
        line = substr(line, RLENGTH + 1)
    }
    sub(/^ *-? */, "", line)
    if (line == "")
        line = "case " n
    failed += bad
    cases_failed += bad
    print (bad ? "not ok" : "ok") " - " name ": " line
    next
}
/^1\.\.[0-9]+/ {
    plans++
    plan = substr($0, 4) + 0
    if (plan == 0 && match(toupper($0), /# *SKIP */)) {
        skipped_all = 1
        print "ok - " name " # SKIP " substr($0, RSTART + RLENGTH)
    }
    next
}
/^Bail out!/ {
    print "# " $0
    bailed = 1
    next
}
/^TAP version/ { next }
/^#/ { print; next }
{ print "# " $0 }
END {
    if (bailed)
        wrong("gave up")
    if (plans == 0)
        wrong("printed no plan")
    else if (plans > 1)
        wrong("printed " plans " plans")
    else if (plan != n)
        wrong("planned " plan " cases and ran " n)
    else if (n == 0 && !skipped_all)
        wrong("ran no case")
    if (disorder)
        wrong("numbered its cases out of order")
    if (status == 124 || status == 137)
        wrong("was stopped: status " status " (time limit, or killed)")
    else if (status > 128)
        wrong("died of signal " status - 128)
    else if (status != 0 && cases_failed == 0)
        wrong("ended with status " status " although no case failed")
    exit failed != 0
}'
