#!/bin/bash
# Each header compiles alone and twice, with the compiler and flags of the program, and has the guard
# its path demands. Prints TAP about the tree it is run in.
set -u
. "$(dirname "$0")/lib.sh"

upper() { printf %s "$1" | tr '[:lower:]' '[:upper:]' | tr -c 'A-Z0-9' _; }

read_compile_command

headers=$(find mem paging boot hv tests guest-samples -name '*.h' | sort)
alone='' guards='' all_guards=''
for header in $headers; do
    # shellcheck disable=SC2154 # read_compile_command sets it
    compile_it=("${compile[@]}")
    # What only guests use is compiled as guests are, and what only fuzz targets use as they are.
    case $header in
    tests/fuzz/*) compile_it=(clang-14 -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -I.) ;;
    guest-samples/*) compile_it=(gcc -std=c11 -m32 -ffreestanding -fno-pie -Wall -Wextra -Werror -I.) ;;
    esac
    said=$(printf '#include "%s"\n#include "%s"\nextern int not_empty;\n' "$header" "$header" |
        "${compile_it[@]}" -Wno-unused-function -Wno-unused-variable -fsyntax-only -x c - 2>&1) ||
        alone+="$header: $said"$'\n'

    guard=$(sed -n '/^#ifndef /{N;s/^#ifndef \([A-Z0-9_]*\)\n#define \1$/\1/p;q}' "$header")
    folders=$(dirname "$header")
    stem=$(basename "$header")
    case $guard in
    '') guards+="$header: no guard"$'\n' ;;
    "$(upper "$folders/$stem")" | "$(upper "${folders%%/*}/$stem")" | "$(upper "${folders##*/}/$stem")") ;;
    *) guards+="$header: the guard is $guard, not $(upper "$header")"$'\n' ;;
    esac
    all_guards+="$guard"$'\n'
done

[ -n "$headers" ] && none='' || none="no header was found"
case_of "there are headers to check" "$none"
case_of "each header compiles alone, and twice" "${alone%$'\n'}"
guards+=$(printf %s "$all_guards" | sort | uniq -d | sed 's/$/ guards two headers/')
case_of "each header's guard is its path, and nobody else's" "${guards%$'\n'}"
finish
