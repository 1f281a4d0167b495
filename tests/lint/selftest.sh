#!/bin/bash
# Each check can fail: plant one violation in a small copy of the tree and demand that the check meant
# for it says no and names the place. Prints TAP; the copies are under build/lint-selftest.
set -u
cd "$(dirname "$0")/../.." || exit 1

top=$PWD
work=$top/build/lint-selftest
base=$work/base
cases=0
failed=0

# What the checks need to have something to say yes to.
make_base() {
    local file

    rm -rf "$work"
    mkdir -p "$base"
    for file in Makefile .clang-format .clang-tidy .shellcheckrc mem/error.h mem/error.c mem/format.h mem/format.c \
        mem/assert.h mem/assert.c mem/num.h mem/region.h \
        mem/region.c mem/zero.h guest-samples/samples.mk tests/tests.mk tests/tap.h tests/setup.sh tests/unit/test_num.c; do
        mkdir -p "$base/$(dirname $file)"
        cp -p $file "$base/$file"
    done
    cp -rp tests/lint "$base/tests/lint"
    mkdir -p "$base/paging" "$base/boot" "$base/hv"
    # shellcheck disable=SC2016 # backquotes of Markdown
    echo 'Say `make check`.' >"$base/README.md"
    grep -e 'mem/error\.h' -e 'mem/assert\.c' tests/lint/exceptions >"$base/tests/lint/exceptions"
    : >"$base/config.mak"
}

result() { # name, whether, what was said
    cases=$((cases + 1))
    if [ "$2" = yes ]; then
        echo "ok $cases - $1"
    else
        printf '%s\n' "$3" | sed 's/^/# | /'
        echo "not ok $cases - $1"
        failed=$((failed + 1))
    fi
}

accepts() { # check
    local said verdict=no

    said=$(cd "$base" && "tests/lint/$1" 2>&1) && ! grep -q '^not ok' <<<"$said" && verdict=yes
    result "$1 finds nothing in the copy without a violation" $verdict "$said"
}

copy() { # the function PLANT does its work in a fresh copy
    rm -rf "$work/tree"
    cp -rp "$base" "$work/tree"
    (cd "$work/tree" && plant) || echo "# planting failed"
}

# The diagnostics of a case come before it.
demand_case() { # output, case, place
    awk -v want="$2" -v place="$3" '
        /^#/ { held = held $0 "\n"; next }
        /^not ok/ { name = $0; sub(/^not ok [0-9]+ - /, "", name)
                    if (name == want && index(held, place)) found = 1 }
        { held = "" }
        END { exit !found }' <<<"$1"
}

refuses() { # check, case, place; what to plant is the function "plant"
    local said verdict=no

    copy
    said=$(cd "$work/tree" && "tests/lint/$1" 2>&1)
    demand_case "$said" "$2" "$3" && verdict=yes
    result "a violation of \"$2\" is found (${4-$3})" $verdict "$said"
}

make_base
for check in floors.py headers.sh rules.py scripts.sh static.sh; do
    accepts $check
done

# --- floors.py ------------------------------------------------------------------------------------
plant() { : >hv/a.h && sed -i '/"mem\/num.h"/a #include "hv/a.h"' mem/region.c; }
refuses floors.py "no file includes a floor above its own" mem/region.c
plant() { echo '#include "vmm.c"' >hv/a.h && : >vmm.c; }
refuses floors.py "no file includes a floor above its own" hv/a.h
plant() { echo '#include "mem/b.h"' >mem/a.h && echo '#include "mem/b2.h"' >mem/b.h && echo '#include "mem/a.h"' >mem/b2.h; }
refuses floors.py "no headers include each other in a circle" mem/b2.h
plant() { touch mem/a.h mem/b.h && printf '#include "mem/a.h"\n#include "mem/b.h"\n' >mem/a.c && printf '#include "mem/b.h"\n#include "mem/a.h"\n' >mem/b.c; }
refuses floors.py "no two .c files use each other" mem/b
plant() { sed -i 's,"mem/num.h","num.h",' mem/region.c; }
refuses floors.py "every include is written from the top of the tree" mem/region.c
plant() { sed -i 's,"mem/num.h","../mem/num.h",' tests/unit/test_num.c; }
refuses floors.py "every include is written from the top of the tree" tests/unit/test_num.c
plant() { sed -i '0,/#include/s,#include,#include <errno.h>\n&,' mem/region.c; }
refuses floors.py "every file includes its own header first" mem/region.c
plant() { echo '#include <linux/kvm.h>' >hv/vm.c; }
refuses floors.py "only hv/kvm includes <linux/kvm.h>" hv/vm.c
plant() { echo '#include "mem/region.h"' >guest-samples/a.c; }
refuses floors.py "guests include only what they share with the host" guest-samples/a.c
plant() { rm mem/*.c; }
refuses floors.py "a room of the program exists" "no include"

# --- headers.sh -----------------------------------------------------------------------------------
plant() { printf '#ifndef HV_A_H\n#define HV_A_H\nint a_len(uint64_t len);\n#endif\n' >hv/a.h; }
refuses headers.sh "each header compiles alone, and twice" hv/a.h
plant() { printf '#ifndef HV_A_H\n#define HV_A\nstruct a {\n    int b;\n};\n#endif\n' >hv/a.h; }
refuses headers.sh "each header compiles alone, and twice" hv/a.h "a guard that does not guard"
plant() { sed -i 's/MEM_NUM_H/NUM_H/' mem/num.h; }
refuses headers.sh "each header's guard is its path, and nobody else's" mem/num.h
plant() { mkdir tests/kvm && printf '#ifndef TESTS_TAP_H\n#define TESTS_TAP_H\n#endif\n' >tests/kvm/tap.h; }
refuses headers.sh "each header's guard is its path, and nobody else's" TESTS_TAP_H "a guard of two headers"

# --- rules.py -------------------------------------------------------------------------------------
add() { printf '%s\n' "$2" >>"$1"; } # file, line
plant() { add mem/region.c '#ifdef __linux__' && add mem/region.c '#endif'; }
refuses rules.py "no source asks a conditional of the preprocessor" mem/region.c:
plant() { add mem/region.h '#if defined(SOMETHING) && !defined(MEM_REGION_H)'; }
refuses rules.py "no source asks a conditional of the preprocessor" mem/region.h:
plant() { add hv/a.c 'int a = I686_GUEST;'; }
refuses rules.py "no source names a feature switch outside of text" hv/a.c:1
plant() { add hv/a.c '    exit(1);'; }
refuses rules.py "only vmm.c ends the process" hv/a.c:1
plant() { add hv/pid1.c '    exit(1);' && add tests/lint/exceptions 'exit | hv/pid1.c | _exit( | a reason'; }
refuses rules.py "only vmm.c ends the process" hv/pid1.c:1 "an exception is for its own text only"
plant() { add boot/a.c '    fprintf(stderr, "a");'; }
refuses rules.py "only vmm.c speaks to the user" boot/a.c:1 fprintf
plant() { add boot/a.c '    perror("a");'; }
refuses rules.py "only vmm.c speaks to the user" boot/a.c:1 perror
for line in '    snprintf(text, 4, "a");' '    n = strtoull(s, NULL, 0);' '#include <assert.h>' \
    '    return getopt_long(1, 2);' '    timer_settime(0, 0, &t, NULL);' '    pthread_exit(NULL);'; do
    plant() { add mem/region.c "$line"; }
    refuses rules.py "the program leaves the large parts of the C library out" mem/region.c: "${line%%(*}"
done
plant() { add mem/region.c '/* TO''DO */'; }
refuses rules.py "nothing is left unfinished in a comment" mem/region.c:
plant() { yes '' | head -n 601 >boot/a.c; }
refuses rules.py "no file is too long" boot/a.c
plant() { : >hv/a.cpp; }
refuses rules.py "the program is C and nothing else" hv/a.cpp
plant() { chmod -x tests/setup.sh; }
refuses rules.py "every script can be run" tests/setup.sh
# shellcheck disable=SC2016
plant() { add README.md 'Say `make I686_GUEST=1 no-such-target`.'; }
refuses rules.py "every make target that README.md names exists" no-such-target
plant() { add tests/lint/exceptions 'exit | mem/region.c | exit( | a reason'; }
refuses rules.py "every exception is needed and has a reason" exceptions:3 "an exception that nothing needs"
plant() { add hv/a.c '    exit(1);' && add tests/lint/exceptions 'exit | hv/a.c | exit( |'; }
refuses rules.py "every exception is needed and has a reason" exceptions:3 "an exception without a reason"
plant() { rm mem/* && echo '' >tests/lint/exceptions; }
refuses rules.py "there is a program to check" "no file"

# --- scripts.sh -----------------------------------------------------------------------------------
# shellcheck disable=SC2016 # the planted script is to expand
plant() { printf '#!/bin/sh\nrm -r $1/*\n' >tests/a.sh; }
refuses scripts.sh "shellcheck finds nothing" tests/a.sh
# shellcheck disable=SC2016
plant() { mkdir .ci && printf '#!/bin/bash\ncd $1\n' >.ci/run; }
refuses scripts.sh "shellcheck finds nothing" .ci/run
plant() { printf 'def f(:\n' >tests/a.py; }
refuses scripts.sh "every Python file compiles" tests/a.py

# --- static.sh: one run, a file for each check ----------------------------------------------------
plant() {
    printf 'int  a;\n' >hv/bad_format.c
    # Each is well-formed for the other checks as far as that can be.
    cat >hv/bad_gcc.c <<'C'
int bad_gcc(int a);

int bad_gcc(int a)
{
    char text[4];

    return text[a & 3];
}
C
    cat >hv/bad_clang.c <<'C'
int bad_clang(unsigned a);

int bad_clang(unsigned a)
{
    return 1 ? 2 : !a == 3;
}
C
    cat >hv/bad_tidy.c <<'C'
#include <stdlib.h>

int bad_tidy(const int *a);

int bad_tidy(const int *a)
{
    int *b = (int *)malloc(sizeof(a));

    return b == NULL ? *a : 2;
}
C
    cat >hv/bad_cppcheck.c <<'C'
#include <stdio.h>

int bad_cppcheck(void);

int bad_cppcheck(void)
{
    char text[4];
    FILE *f = fopen("a", "r");

    return text[0] == 'a' && f != NULL;
}
C
}
copy
said=$(cd "$work/tree" && LINT_JOBS=${LINT_JOBS:-} tests/lint/static.sh 2>&1)
while read -r file name; do
    verdict=no
    demand_case "$said" "$name" "hv/$file" && verdict=yes
    result "a violation of \"$name\" is found (hv/$file)" $verdict "$said"
done <<'LIST'
bad_format.c clang-format would change nothing
bad_gcc.c gcc compiles every source without a warning
bad_clang.c clang compiles every source without a warning
bad_tidy.c clang-tidy finds nothing
bad_cppcheck.c cppcheck finds nothing
LIST
plant() { rm mem/*.c; }
refuses static.sh "there are sources to check" "no source"

echo "1..$cases"
[ "$cases" != 0 ] && [ "$failed" = 0 ]
