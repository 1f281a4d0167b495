#!/bin/bash
# What compilers and analysers say of every C file: formatting, warnings of gcc and clang, clang-tidy,
# cppcheck. Prints TAP about the tree it is run in. LINT_JOBS says how many at a time.
set -u
export LC_ALL=C
. "$(dirname "$0")/lib.sh"
jobs=${LINT_JOBS:-$(nproc)}

each() { # command...: once for each file on stdin; its name comes last; prints what failing ones said
    # shellcheck disable=SC2016 # the inner shell expands
    xargs -r -d '\n' -n 1 -P "$jobs" bash -c 'said=$("$@" 2>&1 </dev/null) || printf "%s\n%s\n" "${!#}" "$said"' - "$@"
}

list() { find "$@" 2>/dev/null | sort; }

read_compile_command
# clang takes the kernel's headers and glibc's from their usual places.
clang_flags=(-std=c11 -O2 -I. -D_GNU_SOURCE "-DVMM_FLAVOUR=\"lint\"" -Wall -Wextra -Wshadow -Wmissing-prototypes
    -Wstrict-prototypes -Wundef -Wvla -Wwrite-strings -Wpointer-arith -Wformat=2 -Wimplicit-fallthrough -Wcast-align)

program=$(list mem paging boot hv vmm.c -name '*.c')
tests=$(list tests/unit tests/kvm tests/lab tests/bench -name '*.c')
fuzz=$(list tests/fuzz -name '*.c')
all=$(list mem paging boot hv vmm.c tests guest-samples -name '*.[ch]')

none=
[ -n "$program" ] || none="no source was found"
case_of "there are sources to check" "$none"

case_of "clang-format would change nothing" \
    "$(printf '%s\n' "$all" | xargs -r -d '\n' clang-format-14 --dry-run -Werror 2>&1)"

# shellcheck disable=SC2154 # read_compile_command sets it
case_of "gcc compiles every source without a warning" \
    "$(printf '%s\n' "$program" "$tests" | grep . |
        each "${compile[@]}" -Wno-unused-variable -c -o /dev/null)"

case_of "clang compiles every source without a warning" \
    "$(printf '%s\n' "$program" "$tests" "$fuzz" | grep . |
        each clang-14 "${clang_flags[@]}" -Werror -Wno-unused-function -Wno-unused-variable -fsyntax-only)"

# What was clean is remembered by a hash of everything that goes in, in build/lint.
clean=build/lint
mkdir -p "$clean"

# shellcheck disable=SC2317 # the shells below call it
tidy() { # checks to add or leave out, file
    local said hash

    hash=$({
        cat .clang-tidy
        printf '%s\n' "$@" "${clang_flags[@]}"
        clang-14 "${clang_flags[@]}" -E "$2"
    } 2>/dev/null | sha256sum)
    [ ! -e "$clean/${hash%% *}" ] || return 0
    # What it says on stderr is how many warnings it has swallowed.
    if said=$(clang-tidy-14 --quiet --checks="$1" "$2" -- "${clang_flags[@]}" -Wno-unused-function \
        -Wno-unused-variable 2>/dev/null) && [ -z "$said" ]; then
        touch "$clean/${hash%% *}"
    else
        printf '%s: clang-tidy says\n%s\n' "$2" "$said"
    fi
}
export -f tidy
export clean

tidy_all() { # checks
    # shellcheck disable=SC2016 # the inner shell expands
    xargs -r -d '\n' -n 1 -P "$jobs" bash -c "$(declare -p clang_flags)"'; tidy "$@"' - "$1"
}

# The analyzer follows every path of every case of a test, for minutes, and sanitizers run those paths
# anyway; that an out-argument is untouched is shown by comparing all its bytes.
case_of "clang-tidy finds nothing" "$(
    printf '%s\n' "$program" | grep . | tidy_all ""
    printf '%s\n' "$tests" "$fuzz" | grep . | tidy_all "-clang-analyzer-*,-bugprone-suspicious-memory-comparison"
)"

case_of "cppcheck finds nothing" \
    "$(printf '%s\n' "$program" | grep . |
        xargs -r -d '\n' cppcheck -q -j "$jobs" --std=c11 --platform=unix64 --error-exitcode=1 --inline-suppr \
            --enable=warning,performance,portability -I. -D_GNU_SOURCE "-DVMM_FLAVOUR=\"lint\"" -D__x86_64__ \
            --suppressions-list=tests/lint/cppcheck 2>&1)"
finish
