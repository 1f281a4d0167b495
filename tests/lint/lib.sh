# Shared by the lint scripts, which source it: TAP cases, and how the program is compiled.
# shellcheck shell=bash
cases=0
failed=0

case_of() { # name, text: passes when the text is empty
    cases=$((cases + 1))
    if [ -z "$2" ]; then
        echo "ok $cases - $1"
    else
        printf '%s\n' "$2" | head -n 100 | sed 's/^/# /'
        echo "not ok $cases - $1"
        failed=$((failed + 1))
    fi
}

finish() {
    echo "1..$cases"
    [ "$cases" != 0 ] && [ "$failed" = 0 ]
    exit
}

# The array `compile`: compiler and flags as the Makefile has them, warnings being errors.
read_compile_command() {
    local words

    # shellcheck disable=SC2016 # for make to expand, when it runs the recipe
    words=$(env -u MAKEFLAGS make -s --no-print-directory WERROR=1 \
        --eval='lint-flags: build/kernel-headers ; $(info $(CC) $(CPPFLAGS) $(CFLAGS))@:' lint-flags)
    eval "compile=($words)"
}
