#!/bin/bash
# Every script, known by its name or by its first line, through shellcheck; Python is compiled, which
# finds what is not Python. Prints TAP about the tree it is run in.
set -u
. "$(dirname "$0")/lib.sh"

shell='' python=''
while read -r file; do
    first=$(head -c 64 "$file" | head -n 1 | tr -d '\0')
    case ${file##*.}:$first in
    sh:* | *:'#!'*sh) shell+="$file"$'\n' ;;
    py:* | *:'#!'*python3) python+="$file"$'\n' ;;
    esac
done < <(find . \( -name .git -o -name build \) -prune -o -type f -size -200k -print | sort)

none=
[ -n "$shell" ] || none="no script was found"
case_of "there are scripts to check" "$none"
case_of "shellcheck finds nothing" "$(printf %s "$shell" | xargs -r -d '\n' shellcheck -f gcc 2>&1)"
case_of "every Python file compiles" "$(printf %s "$python" | xargs -r -d '\n' python3 -B -c '
import sys
for path in sys.argv[1:]:
    try:
        compile(open(path, encoding="utf-8").read(), path, "exec")
    except (SyntaxError, ValueError) as e:
        print("%s: %s" % (path, e))' 2>&1)"
finish
